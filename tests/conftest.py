"""Fixtures shared by all tests. Data is generated, or comes from `../shared` where that exists."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is imported, and inherited by commands that tests start: several workers share few cores, and a process
# with threads of OpenMP cannot be forked.
os.environ["OMP_NUM_THREADS"] = "1"
# They find the package and the tests compiled: each of them would compile anew for a second or two.
os.environ["PYTHONDONTWRITEBYTECODE"] = ""

import shutil
import signal
import sys
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.command import short_training, succeeds, tiny_machines

sys.dont_write_bytecode = False

# A shell that starts the tests in the background has them ignore Ctrl-C, which some of them send to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples every time, and as long as they take: no test depends on how busy the machine is.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")

SHARED = Path(os.environ.get("ASD_SHARED", Path(__file__).resolve().parents[2] / "shared"))
EXCERPT = Path(__file__).parent / "golden/reference.tar.xz"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` skip where torch sees no GPU."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """No test leaves torch with more threads than it found."""
    yield
    if torch := sys.modules.get("torch"):
        assert torch.get_num_threads() == 1


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Torch computes on two threads meanwhile."""
    import torch

    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference material beside the checkout; tests that need its recordings skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there: its recordings may not be published")
    return SHARED


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Official numbers in the layout of ../shared/reference: that folder, or else the excerpt of this repository."""
    if (SHARED / "reference").is_dir():
        return SHARED / "reference"
    folder = tmp_path_factory.mktemp("reference")
    with tarfile.open(EXCERPT) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one small synthetic machine, fan; to be copied, not changed."""
    return tiny_machines(tmp_path_factory.mktemp("tiny"), "fan")


@pytest.fixture
def place(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of one's own, with a copy of the small machine in data/."""
    shutil.copytree(tiny, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tiny_run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of the small machine in runs/; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("tiny_run")
    shutil.copytree(tiny, folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        succeeds(*short_training())
    shutil.rmtree(folder / "data")
    return folder


@pytest.fixture
def run(place: Path, tiny_run: Path) -> Path:
    """A finished run of the small machine in runs/ of that directory."""
    shutil.copytree(tiny_run / "runs", place / "runs")
    return place / "runs/autoencoder/fan/seed0"
