"""A PyTorch DataLoader gives the batches of `simtiff.training.Frames`, in their order, from any number of workers.

PyTorch is an extra of its own (``pip install "simtiff[torch]"``); `make test-torch` runs these.
"""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simtiff import localizations, training

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # from PyTorch
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra torch)")
    from simtiff.training.torch import Frames

pytestmark = pytest.mark.filterwarnings("ignore")  # from PyTorch, and from forks of a process with threads

SECONDS = 60  # longer than any test here; beyond it, a test hangs
CONFIG = {
    "zmap_path": "builtin:oil",
    "emitters": {"area_px": 64, "num_emitters": 100, "frames": 20},
    "psf": {"size_px": 15},
}
ASKED: dict[str, Any] = {"size": 16, "batch": 3, "window": 2, "seed": 5, "start": 7, "bounds": True}
WAYS: list[dict[str, Any]] = [
    {"num_workers": 0},
    *(
        {"num_workers": count, "multiprocessing_context": how, "timeout": SECONDS}
        for count in (1, 3)
        for how in ("fork", "spawn")
    ),
]
ROOT = Path(__file__).parents[2]
TRAINER = ROOT / "examples/train_localizer.py"


def assert_is(found: dict[str, Any], expected: training.Batch) -> None:
    """Compare a dict of tensors to a batch, bit by bit."""
    assert found["index"] == expected.index
    named = {name for name in training.Batch.__slots__ if getattr(expected, name) is not None}
    assert found.keys() == named
    for name in named - {"index"}:
        np.testing.assert_array_equal(found[name].numpy(), getattr(expected, name), strict=True)


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way['num_workers']} {way.get('multiprocessing_context', '')}")
def test_a_data_loader_gives_the_same_batches_in_the_same_order(way: dict[str, Any], used: bool) -> None:
    """Also after the parent has made batches on threads, which a forked child does not have."""
    data = Frames(CONFIG, **ASKED)
    if used:
        next(iter(data))
    expected = islice(training.Frames(CONFIG, **ASKED), 8)
    found = iter(torch.utils.data.DataLoader(data, batch_size=None, **way))
    for batch in expected:
        assert_is(next(found), batch)


def test_ranks_and_copies_have_their_own_and_the_same_batches() -> None:
    data = Frames(CONFIG, **ASKED, rank=1, ranks=2)
    found = next(iter(pickle.loads(pickle.dumps(data))))
    assert_is(found, training.Frames(CONFIG, **ASKED, rank=1, ranks=2).batch(7))
    assert not np.array_equal(found["frames"].numpy(), next(iter(Frames(CONFIG, **ASKED)))["frames"].numpy())


def test_camera_frames_become_photons_that_a_network_takes() -> None:
    frames = next(iter(Frames(CONFIG, **ASKED)))["frames"]
    assert frames.dtype == torch.uint16
    photons = next(iter(Frames(CONFIG, **ASKED, units="photons")))["frames"]
    assert photons.dtype == torch.float32
    assert torch.nn.functional.conv2d(photons, torch.ones(1, 2, 3, 3)).shape == (3, 1, 14, 14)


def test_tensors_are_pinned_where_they_can_be() -> None:
    batch = next(iter(Frames(CONFIG, **ASKED)))
    assert batch["frames"].is_pinned() == torch.cuda.is_available()
    batch = next(iter(Frames(CONFIG, **ASKED, pin_memory=False)))
    assert not batch["frames"].is_pinned()


@pytest.mark.parametrize("page", ["training.md", "training.zh-CN.md"])
def test_the_page_on_training_data_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "explanation" / page).read_text(encoding="utf-8")
    config, code = (
        re.search(rf"^```{kind}\n(.*?)^```", text[text.index(start) :], re.M | re.S)
        for kind, start in (("json", ""), ("python", "<!-- torch -->"))
    )
    Path("field.json").write_text(config[1], encoding="utf-8")
    names: dict[str, Any] = {}
    exec(compile(code[1], page, "exec"), names)
    assert names["frames"].shape == (16, 1, 64, 64)


def test_the_example_learns(tmp_path: Path) -> None:
    """After some seconds of training, the network finds the emitters of a movie; untrained, it does not."""
    words = [str(TRAINER), "--field=64", "--steps=300", "--frames=8", f"--output={tmp_path}"]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # more threads wait for each other on shared cores
    done = subprocess.run(
        [sys.executable, *words], env=one_thread, capture_output=True, text=True, check=False, timeout=10 * SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^before training: 0 localizations of \d+ emitters", done.stdout, re.M), done.stdout
    after = done.stdout.rpartition("after training")[2]
    recall, precision, error_nm = (
        float(re.search(rf"{name} ([\d.]+)", after)[1]) for name in ("recall", "precision", r"RMSE lateral \(nm\)")
    )
    assert recall > 0.5, done.stdout
    assert precision > 0.9, done.stdout
    assert error_nm < 60, done.stdout
    truth = localizations.read(tmp_path / "single_job/emitters.h5")
    found = localizations.read(tmp_path / "found.csv", pixel_size_nm=100)
    truth = truth[((truth[["x_px", "y_px"]] >= -0.5) & (truth[["x_px", "y_px"]] < 63.5)).all(axis=1)]
    score = localizations.score(truth, found, pixel_size_nm=100).metrics
    assert (score.precision, score.rmse_lateral_nm) == pytest.approx((precision, error_nm), rel=0.01)
    assert (tmp_path / "network.pt").stat().st_size > 1000
