"""The default detector on machines of many kinds, clips of 1 to 60 s, rates of 8 to 96 kHz, and faults of any level."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score

from asd.data.recordings import Recordings
from asd.detectors.base import RunContext
from asd.detectors.statistics import Statistics
from asd.scoring.threshold import fit_threshold
from asd.types import Domain
from tests.kinds_of_sound import FAULTS, KINDS, clips_of, with_fault
from tests.machines import run_context

PLACE = Path("unused")  # a detector that trains nothing writes nothing


@cache
def machine_of(kind: str) -> tuple[Statistics, Recordings, list[npt.NDArray[np.float32]]]:
    """A detector, the clips of one second that it was fitted to, and sounds of the same machine that it never met."""
    context = run_context(PLACE)
    detector = Statistics(RunContext(context.device, context.cache, context.directory))
    learnt, others = (clips_of(kind, n, seed, seconds=1.0) for n, seed in ((36, 0), (12, 1)))
    detector.fit(learnt)
    return detector, learnt, [others.waveform(i) for i in range(len(others))]


def scores_of(detector: Statistics, sounds: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float64]:
    return detector.score_waveforms(sounds, 16000)["ensemble"]


@cache
def aucs(kind: str, seconds: float, rate_hz: int, n_train: int, n_test: int) -> dict[str, float]:
    """AUC of every scorer, for a machine of a kind with a fault that it may have."""
    context = run_context(PLACE)
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
        (60.0, 16000, ("strokes", "drifting")),
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


@pytest.mark.slow
def test_irregular_strokes_are_found_where_the_mean_level_is_the_same() -> None:
    found = aucs("strokes", 1.0, 16000, 30, 12)
    assert found["level"] < 0.75
    assert found["ensemble"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_scores_rise_with_the_level_of_a_fault_of_any_kind(kind: str) -> None:
    detector, _, sounds = machine_of(kind)
    for fault in FAULTS:
        levels = [scores_of(detector, with_fault(fault, sounds, snr_db)) for snr_db in (-100, -40, -30, -20, -10, 0)]
        means = np.mean(levels, axis=1)
        assert np.diff(means).min() > -0.05, (fault, means)
        assert means[-1] > means[0] + 3.0, (fault, means)
        assert (levels[-1] > levels[0]).all(), fault


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_neither_gain_nor_order_nor_company_changes_a_score(kind: str) -> None:
    detector, _, sounds = machine_of(kind)
    sounds = [*sounds[:6], *with_fault("band", sounds[6:], -10.0)]
    scores, order = scores_of(detector, sounds), np.random.default_rng(0).permutation(len(sounds))
    for gain in (0.01, 0.5, 7.0):
        np.testing.assert_allclose(scores_of(detector, [gain * sound for sound in sounds]), scores, atol=1e-3)
    np.testing.assert_allclose(scores_of(detector, [sounds[i] for i in order]), scores[order], atol=1e-4)
    twice = scores_of(detector, [sounds[3], sounds[8], sounds[3]])
    np.testing.assert_allclose(twice, scores[[3, 8, 3]], atol=1e-4)
    assert twice[0] == pytest.approx(twice[2], abs=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_that_equals_a_target_reference_is_normal(kind: str) -> None:
    detector, learnt, _ = machine_of(kind)
    threshold = fit_threshold(detector.score_training(learnt)["ensemble"])
    targets = [learnt.waveform(i) for i, clip in enumerate(learnt.clips) if clip.domain is Domain.TARGET]
    assert len(targets) == 6
    assert not threshold.decide(scores_of(detector, targets)).any()
