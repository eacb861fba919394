"""The default detector on machines of many kinds, clips of 1 to 60 s, and rates of 8 to 96 kHz."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from asd.detectors.base import RunContext
from asd.detectors.statistics import Statistics
from tests.kinds_of_sound import KINDS, clips_of
from tests.machines import workplace

PLACE = Path("unused")  # a detector that trains nothing writes nothing


@cache
def aucs(kind: str, seconds: float, rate_hz: int, n_train: int, n_test: int) -> dict[str, float]:
    """AUC of every scorer, for a machine of a kind with a fault that it may have."""
    context = workplace(PLACE)
    detector = Statistics(RunContext(context.device, context.cache, context.directory, sample_rate_hz=rate_hz))
    sound = {"seconds": seconds, "rate_hz": rate_hz}
    detector.fit(clips_of(kind, n_train, 0, **sound))
    normal = detector.score(clips_of(kind, n_test, 1, **sound))
    faulty = detector.score(clips_of(kind, n_test, 2, faulty=True, **sound))
    labels = [0] * n_test + [1] * n_test
    return {name: roc_auc_score(labels, [*normal[name], *faulty[name]]) for name in detector.scorers}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "rate_hz", "kinds"),
    [
        (1.0, 16000, KINDS),
        (2.0, 16000, KINDS),
        (10.0, 16000, KINDS),
        (60.0, 16000, ("strokes",)),
        (2.0, 8000, KINDS),
        (1.0, 44100, ("strokes", "impacts")),
        (1.0, 96000, ("tonal", "strokes")),
    ],
)
def test_faults_are_found_in_clips_of_every_length_rate_and_kind(
    seconds: float, rate_hz: int, kinds: tuple[str, ...]
) -> None:
    found = {kind: aucs(kind, seconds, rate_hz, 30, 12)["ensemble"] for kind in kinds}
    assert min(found.values()) > 0.85, found


@pytest.mark.slow
def test_every_group_that_votes_finds_a_fault_of_some_kind() -> None:
    by_kind = [aucs(kind, 2.0, 16000, 48, 24) for kind in KINDS]
    best = {group: max(found[group] for found in by_kind) for group in by_kind[0]}
    assert min(best.values()) > 0.75, best  # 24 against 24 clips by chance: 0.5, at most 0.7 of seven


def test_irregular_strokes_are_found_where_the_mean_level_is_the_same() -> None:
    found = aucs("strokes", 1.0, 16000, 30, 12)
    assert found["level"] < 0.75
    assert found["ensemble"] > 0.9
