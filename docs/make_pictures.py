"""Make the pictures in docs/images/how-to: run the pages that show them, and keep what their code draws.

Run it from anywhere with matplotlib installed: ``python docs/make_pictures.py [NAME ...]``; without names all pages.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from pages import pictures_of, run_page  # noqa: E402


def main(names: list[str]) -> None:
    """Run the pages that show pictures and save these, each with 256 colours."""
    kept = DOCS / "images" / "how-to"
    kept.mkdir(exist_ok=True)
    for page in sorted(DOCS.rglob("*.md")):
        wanted = not page.name.endswith(".zh-CN.md") and (not names or page.stem in names)
        if not wanted or not pictures_of(page):
            continue
        with tempfile.TemporaryDirectory() as folder:
            run_page(page, Path(folder))
            for name in pictures_of(page):
                drawn = Image.open(Path(folder) / name).convert("RGB")
                drawn.quantize(256, dither=Image.Dither.NONE).save(kept / name, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
