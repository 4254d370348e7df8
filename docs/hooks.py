"""What the site needs besides MkDocs: files outside this folder, and links between the pages of a language.

The pages are written to be read as files, too, as in a repository's viewer.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
FOLDERS = ("configs", "examples")  # beside this one; the site gets a copy of their files
SWITCH = re.compile(r"^\[(?:中文|English)\]\([^)]+\)\n+", flags=re.MULTILINE)  # the site has a menu of languages

logging.getLogger("jieba").setLevel(logging.WARNING)  # it parts Chinese words for the search, and says when it begins
FETCHED = re.compile(
    r"<(?:script|img|iframe)[^>]*src=\"?(?:https?:)?//|<link[^>]*href=\"?(?:https?:)?//|url\(\"?(?:https?:)?//"
)


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside this folder."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).glob("*.*")):
            if path.suffix != ".md":
                files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links to pages of the language, and to the copies of files that lie outside this folder."""
    del config, files
    up = "../" * page.file.src_uri.count("/")
    markdown = SWITCH.sub("", markdown, count=1)
    markdown = re.sub(r"(\]\([^)\s]*?)\.zh-CN\.md", r"\1.md", markdown)
    return re.sub(rf"\]\({re.escape(up)}\.\./({'|'.join(FOLDERS)})/", rf"]({up}\1/", markdown)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Refuse a page that a browser would fetch something for from elsewhere."""
    del config
    if (found := FETCHED.search(output)) is not None:
        raise PluginError(f"{page.file.src_uri} fetches something from the network: {output[found.start() :][:120]}")
    return output
