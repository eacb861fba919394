"""The excerpt of official numbers in this repository is what ../shared/reference holds."""

from __future__ import annotations

import tarfile
from pathlib import Path

from tests.conftest import EXCERPT
from tools.golden import contents

LARGEST_BYTES = 2_000_000  # of the folder; a clone should not wait for it


def test_the_excerpt_is_small() -> None:
    assert sum(path.stat().st_size for path in EXCERPT.parent.iterdir()) < LARGEST_BYTES


def test_the_excerpt_holds_what_the_tests_of_a_public_clone_need() -> None:
    with tarfile.open(EXCERPT) as archive:
        names = archive.getnames()
    for year in range(2020, 2025):
        assert any(name.startswith(f"evaluator/{year}/expected/") for name in names)
        assert any(name.startswith(f"evaluator/{year}/submissions/informative/") for name in names)
    assert {f"ground_truth/eval_data_list_{year}.csv" for year in range(2020, 2026)} <= {*names}
    assert not [name for name in names if name.endswith(".wav")]


def test_the_excerpt_equals_its_source(shared: Path) -> None:
    with tarfile.open(EXCERPT) as archive:
        held = {entry.name: archive.extractfile(entry) for entry in archive}
        assert {name: file.read() for name, file in held.items() if file} == contents()
