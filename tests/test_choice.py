from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asd.core.files import write_json
from asd.detectors import StatisticsSettings
from asd.detectors.choice import choose, read_choice, standard_error
from asd.detectors.statistics import Statistics
from asd.types import AsdError, Split
from tests.machines import recordings, run_context, tone_machine

WEIGHTS = {"level": 1.0, "kurtosis": 0.35}


def scores(seed: int, n: int = 80, **shifts: float) -> dict[str, np.ndarray]:
    """Of clips by group; `fused` and the groups by how far they lie above 0."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(shift, 1.0, n) for name, shift in shifts.items()}


def test_a_group_that_planted_faults_leave_as_it_is_does_not_vote() -> None:
    normal = {"own": scores(0, level=0, kurtosis=0, all=0)}
    faulty = {"own": scores(1, level=2, kurtosis=0, all=2)}
    found = choose(WEIGHTS, normal, faulty, "all")
    assert (found.backend, found.weights) == ("own", {"level": 1.0, "kurtosis": 0.0})
    assert found.found["level"] > 0.85 > 0.65 > found.found["kurtosis"]
    assert found.why == "no vote for kurtosis: planted faults raise their scores no more than chance does"
    faulty = {"own": scores(1, level=2, kurtosis=0.8, all=2)}
    assert choose(WEIGHTS, normal, faulty, "all").weights == WEIGHTS


def test_where_no_group_finds_anything_all_vote() -> None:
    normal, faulty = ({"own": scores(seed, level=0, kurtosis=0, all=0)} for seed in (0, 1))
    found = choose(WEIGHTS, normal, faulty, "all")
    assert found.weights == WEIGHTS
    assert found.why == "no group finds planted faults, so all vote"


@pytest.mark.parametrize(("shift", "chosen"), [(1.0, "own"), (1.1, "own"), (3.0, "other")])
def test_another_back_end_takes_over_where_it_is_better_beyond_chance(shift: float, chosen: str) -> None:
    normal = {name: scores(seed, level=0, kurtosis=0, all=0) for seed, name in enumerate(("own", "other"))}
    faulty = {"own": scores(2, level=1, kurtosis=1, all=1), "other": scores(3, level=shift, kurtosis=1, all=shift)}
    found = choose(WEIGHTS, normal, faulty, "all")
    assert found.backend == chosen
    assert {*found.backends} == {"own", "other"}
    assert ("other finds planted faults better than own" in found.why) == (chosen == "other")


def test_the_standard_error_of_a_difference_is_that_of_drawing_the_clips_again() -> None:
    rng = np.random.default_rng(5)
    clips, faults = rng.normal(size=(90, 1)), rng.normal(1.0, 1.0, size=(70, 1))
    one, other = ((clips + rng.normal(size=(90, 2))).T, (faults + rng.normal(size=(70, 2))).T)
    pairs = [(one[0], other[0]), (one[1], other[1])]

    def area(normal: np.ndarray, faulty: np.ndarray) -> float:
        return float((faulty[:, None] > normal).mean())

    drawn = []
    for _ in range(1000):
        i, j = rng.integers(90, size=90), rng.integers(70, size=70)
        drawn.append(area(pairs[0][0][i], pairs[0][1][j]) - area(pairs[1][0][i], pairs[1][1][j]))
    assert standard_error(*pairs) == pytest.approx(np.std(drawn), rel=0.1)


def test_the_standard_error_is_that_of_delong() -> None:
    """By pairs of clips, of few of which the degrees of freedom are seen; ties count half."""
    normal, faulty = np.array([[0, 1, 2, 5], [3, 0, 1, 1]]), np.array([[1, 4, 6], [1, 2, 0]])
    wins = np.heaviside(faulty[:, :, None] - normal[:, None, :], 0.5)
    pairs = wins[0] - wins[1]  # (faulty, normal)
    expected = np.sqrt(np.var(pairs.mean(1), ddof=1) / 3 + np.var(pairs.mean(0), ddof=1) / 4)
    found = standard_error((normal[0], faulty[0]), (normal[1], faulty[1]))
    assert found == pytest.approx(expected)


def test_a_chosen_detector_keeps_its_choice(tmp_path: Path) -> None:
    root = tone_machine(tmp_path / "data", n_train=30)
    settings = StatisticsSettings(views=["level_16", "skewness_16"], choose=True)
    detector = Statistics(run_context(tmp_path), settings)
    detector.fit(recordings(root))
    detector.save(tmp_path)
    found = detector.score(recordings(root, split=Split.TEST))
    weights = [detector.choice.weights[name] for name in settings.views]
    assert weights[0] == 1.0
    expected = np.average([found[name] for name in settings.views], axis=0, weights=weights)
    np.testing.assert_allclose(found["ensemble"], expected)
    again = Statistics(run_context(tmp_path), settings)
    again.load(tmp_path)
    assert again.choice == detector.choice
    np.testing.assert_array_equal(again.score(recordings(root, split=Split.TEST))["ensemble"], found["ensemble"])


def test_few_clips_choose_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tone_machine(tmp_path / "data", n_train=10)
    detector = Statistics(run_context(tmp_path), StatisticsSettings(views=["level_16"], choose=True))
    with caplog.at_level("INFO", logger="asd"):
        detector.fit(recordings(root))
    assert detector.choice.why == "10 training clips are too few to choose by"
    assert f"fan: {detector.choice.why}" in caplog.text
    assert detector.choice.weights == {"level_16": 1.0}


def test_a_choice_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "choice.json"
    write_json(path, {"backend": "knn"})
    with pytest.raises(AsdError, match=r"choice\.json is no choice of a model"):
        read_choice(path, ["level"])
    write_json(path, {"backend": "knn", "weights": {"flux": 1}, "found": {}, "backends": {}, "why": ""})
    with pytest.raises(AsdError, match=r"has weights of flux, not of level; train the run again"):
        read_choice(path, ["level"])
