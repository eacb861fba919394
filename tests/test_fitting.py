"""What is told of conditions whose normal clips a threshold does not fit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from asd.runs import RunDirectory, ScoreFolder
from asd.settings.config import Decision
from asd.stages.fitting import Condition, conditions_above, tell_of_change
from asd.types import Clip, Domain, Split
from tests.command import ONE_VIEW, succeeds
from tests.machines import write_clip


def clip(number: int, domain: Domain = Domain.SOURCE, section: str = "00", **attributes: str) -> Clip:
    return Clip(Path(f"{number}.wav"), "fan", section, Split.TRAIN, domain, attributes=attributes)


def test_conditions_above_are_named_the_worst_first() -> None:
    clips = [clip(i, load=str(i % 2), speed="1") for i in range(40)]
    clips += [clip(i, Domain.TARGET, "01", load="0", speed="1") for i in range(40, 48)]
    above = np.array([i % 8 == 1 for i in range(40)] + [True] * 6 + [False] * 2, int)
    found = conditions_above(clips, above, 0.1)
    assert found == [Condition("section 01", 6, 8)]  # load 0: 6 of 28, load 1: 5 of 20 may be chance
    above[1:40:2] = 1
    assert conditions_above(clips, above, 0.1) == [
        Condition("load 1", 20, 20),
        Condition("section 01", 6, 8),
        Condition("section 00", 20, 40),
    ]


@pytest.mark.parametrize("n", [3, 8, 30])
def test_a_condition_is_named_where_chance_explains_it_once_in_a_hundred_times(n: int) -> None:
    clips = [clip(i, load="high") for i in range(n)] + [clip(n, load="low")]
    for n_above in range(n + 1):
        above = np.array([1] * n_above + [0] * (n - n_above) + [0])
        named = [each.name for each in conditions_above(clips, above, 0.1)] == ["load high"]
        assert named is bool(stats.binom.sf(n_above - 1, n, 0.1) < 0.01)


def test_what_all_clips_share_is_not_named() -> None:
    assert conditions_above([clip(i, load="1") for i in range(9)], np.ones(9, int), 0.1) == []


@pytest.mark.parametrize(
    ("decision", "way"),
    [
        ("decision.quantile=0.8", "(20%): 4 of 4 of load high; expect false alarms there, and give more"),
        ("decision.false_alarm_rate=0.3", "or a lower decision.false_alarm_rate"),
    ],
)
def test_training_warns_of_a_condition_with_false_alarms_to_come(
    decision: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(34):
        is_high = i >= 30
        write_clip(tmp_path / f"{i}.wav", i, 0.5, tone_hz=1000.0 * (i - 28) if is_high else 0.0)
    loads = ["low"] * 30 + ["high"] * 4
    table = pd.DataFrame({"path": [f"{i}.wav" for i in range(34)], "label": "normal", "load": loads})
    table.to_csv("recordings.csv", index=False)
    answer = succeeds("train", ONE_VIEW, decision, "machine=pump", "data=recordings.csv", "held_out=0", "device=cpu")
    assert "held out, normal recordings lie above the threshold more often than wanted" in answer.err
    assert way in answer.err


@pytest.mark.parametrize(
    ("before", "now", "decision", "way"),
    [
        (("gamma", 0.9), ("gamma", 0.95), {}, "decision.method=gamma decision.quantile=0.95"),
        (("percentile", 0.9), ("gamma", 0.9), {}, "decision.method=gamma decision.quantile=0.9"),
        (("gamma", 0.9), ("bound", 0.98), {"false_alarm_rate": 0.05}, "decision.false_alarm_rate=0.05"),
        (("gamma", 0.9), ("gamma", 0.9), {}, ""),  # of other scores
        (("percentile", 0.9, "the fit failed"), ("gamma", 0.9), {}, ""),  # gamma was asked for
        (None, ("gamma", 0.9), {}, ""),
    ],
)
def test_a_threshold_by_another_rule_is_told(
    before: tuple[str, float] | None,
    now: tuple[str, float],
    decision: dict[str, float],
    way: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def stored(value: float, method: str, quantile: float, fallback: str = "") -> dict[str, object]:
        return {"value": value, "method": method, "quantile": quantile, "fallback": fallback}

    folder = ScoreFolder(tmp_path)
    folder.write({}, {"mse": stored(1.5, *before)} if before else {"another": stored(1.5, *now)})
    config = Decision(method="percentile" if now[0] == "percentile" else "gamma", quantile=now[1], **decision)
    job = SimpleNamespace(run=RunDirectory(tmp_path / "fan/seed0"), config=SimpleNamespace(decision=config))
    caplog.set_level("INFO")
    tell_of_change(job, folder, {"mse": stored(2.5, *now)}, "mse")  # type: ignore[arg-type]
    said = f"fan: the threshold of mse was 1.5 and is 2.5 now, by {way}; give train such options each time"
    assert caplog.messages == ([said] if way else [])
