"""Faults planted one at a time, met by the real command: the right result or one sentence, nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from asd.synthetic import make_machines
from tests.command import succeeds
from tests.faults import data, own, packages, places, recordings, tables, words
from tests.faults.fault import LABEL, QUICK, STAGES, Fault, case_id, cases, copy_place, meet, numbers, results, written
from tests.faults.place import Place

CASES = [
    *cases(*(kind.FAULTS for kind in (recordings, data, tables, packages, words, places))),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in cases(own.FAULTS)),
]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines, two runs of them, an evaluation and a package; to be copied, not changed."""
    place = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make_machines(Path("data"), ("fan", "pump"), train_source=5, train_target=3, test_per_cell=2, duration_s=0.3)
        own.lay_out(Path("data/fan"))
        for seed, name in enumerate(("one", "two")):
            succeeds("train", "machine=all", "data=data", f"name={name}", f"seed={seed}", *QUICK)
        succeeds("evaluate", "name=one")
        succeeds("submit", "name=one", f"label={LABEL}")
    return place


@pytest.fixture(scope="session")
def undisturbed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, bytes]]:
    """By stage, the numbers that it writes without any fault."""
    found: dict[str, dict[str, bytes]] = {}

    def of(stage: str) -> dict[str, bytes]:
        if stage not in found:
            place = copy_place(finished, tmp_path_factory.mktemp("undisturbed"))
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(place)
                succeeds(*STAGES[stage])
            found[stage] = written(numbers(results(finished)), numbers(results(place)))
        return found[stage]

    return of


@pytest.fixture(scope="session")
def spoilt(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The one copy in which all faults are planted in turn."""
    return Place(copy_place(finished, tmp_path_factory.mktemp("spoilt")))


@pytest.mark.parametrize(("fault", "stage"), CASES, ids=case_id)
def test_a_planted_fault(
    fault: Fault,
    stage: str,
    spoilt: Place,
    undisturbed: Callable[[str], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(spoilt.root)
    try:
        meet(fault, stage, undisturbed)
    finally:
        spoilt.put_back()
