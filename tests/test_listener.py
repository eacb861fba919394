"""What is made of a stream, with a score that is the level of a window: events, lines and recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asd.data.audio import read_wav
from asd.deploy import listener
from asd.deploy.alarms import Rule
from asd.deploy.listener import Listener, Plan
from asd.deploy.stream import Piece
from asd.types import AsdError

RATE = 1000
TRAINING = np.random.default_rng(9).normal(0.1, 0.003, 100)


def sound(level: float, seconds: float, seed: int = 0, n_channels: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, level, (n_channels, round(seconds * RATE)))
    return noise.astype(np.float32)


class Heard:
    def __init__(self, folder: Path, **changes: Any) -> None:
        given: dict[str, Any] = {
            "sample_rate_hz": RATE,
            "n_channels": 1,
            "n_window": RATE,
            "n_hop": RATE // 2,
            "n_before": 2 * RATE,
            "n_after": RATE,
            "rule": Rule(0.3, 0.2, 1, RATE),
            "drift_per_day": 0.0,
        }
        self.plan = Plan(**{**given, **changes})
        self.events: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        self.listener = Listener(self.plan, TRAINING, self.score, self.events.append, self.lines.append, folder)

    @staticmethod
    def score(samples: np.ndarray) -> float:
        if not np.isfinite(samples).all():
            raise AsdError("a waveform in memory holds NaN or infinite samples")
        if (largest := np.abs(samples).max()) > 10:
            raise AsdError(f"a waveform in memory holds a sample of {largest:.3g}, and full scale is 1")
        return float(samples.std())

    def hear(self, *waveforms: np.ndarray, block: int = 137, name: str = "mic") -> Heard:
        whole = np.concatenate(waveforms, axis=1)
        for start in range(0, whole.shape[1], block):
            self.listener.take(Piece(whole[:, start : start + block], name))
        return self

    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events]


@pytest.mark.parametrize("block", [1, 137, 100_000])
def test_scores_are_those_of_the_windows_whatever_the_blocks(tmp_path: Path, block: int) -> None:
    whole = sound(0.1, 3.3)
    heard = Heard(tmp_path).hear(whole, block=block)
    heard.listener.finish()
    starts = range(0, 3300 - 1000 + 1, 500)
    assert [line["start_s"] for line in heard.lines] == [start / RATE for start in starts]
    expected = [float(whole[:, start : start + 1000].std()) for start in starts]
    assert [line["score"] for line in heard.lines] == expected
    assert (heard.listener.n_windows, heard.listener.n_samples) == (len(expected), 3300)


@pytest.mark.parametrize("block", [137, 100_000])
def test_an_alarm_has_its_times_and_its_recording_before_and_after(tmp_path: Path, block: int) -> None:
    whole = np.concatenate([sound(0.1, 10), sound(0.5, 4, 1), sound(0.1, 10, 2)], axis=1)
    heard = Heard(tmp_path).hear(whole, block=block)
    heard.listener.finish()
    assert heard.kinds() == ["alarm", "cleared"]
    alarm, cleared = heard.events
    assert cleared["alarm"] == alarm["id"]
    assert alarm["threshold"] == 0.3 < alarm["smoothed"]
    suspicious = [line for line in heard.lines if line["score"] > 0.3]
    assert alarm["onset_s"] == suspicious[0]["start_s"]
    assert alarm["end_s"] >= suspicious[0]["end_s"] + 1  # after the least duration
    assert cleared["end_s"] == next(
        line["end_s"] for line in heard.lines if line["end_s"] > alarm["end_s"] and line["score"] < 0.2
    )
    recorded, rate = read_wav(Path(alarm["audio"]))
    start, stop = round((alarm["onset_s"] - 2) * RATE), round((alarm["end_s"] + 1) * RATE)
    assert rate == RATE
    np.testing.assert_allclose(recorded, np.clip(whole[:, start:stop], -1, 1), atol=1 / 32768)


def test_an_alarm_and_a_drift_are_over_where_the_model_is_recalibrated(tmp_path: Path) -> None:
    heard = Heard(tmp_path).hear(sound(0.1, 3), sound(0.5, 4, 1))
    (alarm,) = heard.events
    heard.listener._is_drifting = True
    heard.listener.learnt(Rule(0.9, 0.8, 1, RATE), TRAINING)
    cleared, drift = heard.events[1:]
    assert (cleared["event"], cleared["alarm"], cleared["why"]) == (
        "cleared",
        alarm["id"],
        "the model was recalibrated",
    )
    assert (drift["event"], drift["why"]) == ("drift over", "the model was recalibrated")
    heard.listener.learnt(Rule(0.3, 0.2, 1, RATE), TRAINING)
    assert len(heard.events) == 3


def test_a_recording_ends_where_the_stream_does_and_is_not_half_written(tmp_path: Path) -> None:
    heard = Heard(tmp_path).hear(sound(0.1, 3), sound(0.5, 3, 1))
    (alarm,) = heard.events
    assert alarm["event"] == "alarm"
    assert list(tmp_path.rglob("*.*")) == [Path(alarm["audio"])] or not Path(alarm["audio"]).exists()
    heard.listener.finish()
    recorded, _ = read_wav(Path(alarm["audio"]))
    assert recorded.shape[1] == round((min(6.0, alarm["end_s"] + 1) - max(0.0, alarm["onset_s"] - 2)) * RATE)


def test_a_recording_that_is_interrupted_is_written_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*words: object) -> None:
        raise KeyboardInterrupt

    heard, write = Heard(tmp_path), listener.write_wav
    monkeypatch.setattr(listener, "write_wav", interrupted)
    with pytest.raises(KeyboardInterrupt):
        heard.hear(sound(0.1, 3), sound(0.5, 6, 1))
    monkeypatch.setattr(listener, "write_wav", write)
    assert not Path(heard.events[0]["audio"]).exists()
    heard.listener.finish()
    assert Path(heard.events[0]["audio"]).exists()


def test_a_gap_is_said_and_nothing_reaches_across_it(tmp_path: Path) -> None:
    heard = Heard(tmp_path).hear(sound(0.1, 3))
    heard.listener.take(Piece(sound(0.2, 0.3), "mic", True, 7.5, "the device mic has gone"))
    heard.hear(sound(0.2, 2.7, 1))
    (gap,) = heard.events
    assert (gap["event"], gap["seconds"], gap["why"]) == ("gap", 7.5, "the device mic has gone")
    after = [line["start_s"] for line in heard.lines if line["start_s"] > 3]
    assert after == [10.5 + i / 2 for i in range(5)]  # 3 s, 7.5 s lost, windows of the next 3 s
    assert all(abs(line["score"] - (0.1 if line["start_s"] < 3 else 0.2)) < 0.02 for line in heard.lines)


def test_recordings_of_a_folder_are_windows_of_their_own_with_their_own_times(tmp_path: Path) -> None:
    heard = Heard(tmp_path)
    for name, seconds in (("a.wav", 2.0), ("b.wav", 0.4), ("c.wav", 1.0)):
        heard.listener.take(Piece(sound(0.1, seconds), name, True))
    heard.listener.finish()
    assert [(line["recording"], line["start_s"], line["end_s"]) for line in heard.lines] == [
        *[("a.wav", 0.0, 1.0), ("a.wav", 0.5, 1.5), ("a.wav", 1.0, 2.0)],
        *[("b.wav", 0.0, 0.4), ("c.wav", 0.0, 1.0)],
    ]


def test_a_whole_recording_is_heard_at_once_and_one_of_the_same_name_begins_anew(tmp_path: Path) -> None:
    heard = Heard(tmp_path)
    for seconds, n_heard in ((0.4, 1), (1.0, 2), (0.4, 3)):
        heard.listener.take(Piece(sound(0.1, seconds), "a.wav", True, is_whole=True))
        assert len(heard.lines) == n_heard
        assert (heard.lines[-1]["start_s"], heard.lines[-1]["end_s"]) == (0.0, seconds)
    heard.listener.finish()
    assert len(heard.lines) == 3


def test_a_dead_microphone_and_broken_samples_are_said_once_and_again_when_over(tmp_path: Path) -> None:
    broken = sound(0.1, 2.0)
    broken[:, 1900] = np.nan
    heard = Heard(tmp_path).hear(sound(0.1, 2), np.zeros((1, 4 * RATE), np.float32), sound(0.1, 3), broken)
    assert heard.kinds() == ["defect", "defect over", "defect"]
    assert heard.events[2]["why"] == "holds NaN or infinite samples"
    scored = [line for line in heard.lines if line["score"] is not None]
    assert heard.listener.n_windows == len(scored) < len(heard.lines)
    heard.hear(sound(0.1, 3))
    assert heard.kinds()[3:] == ["defect over"]
    loud = Heard(tmp_path / "loud").hear(1e9 * sound(0.1, 5))  # each window names another sample
    assert loud.kinds() == ["defect"]
    assert loud.events[0]["why"].startswith("holds a sample of ")


def test_a_suspicion_does_not_reach_across_windows_without_a_score(tmp_path: Path) -> None:
    broken, loud = np.full((1, 4 * RATE), np.nan, np.float32), sound(0.5, 1.2, 1)
    heard = Heard(tmp_path).hear(sound(0.1, 3), loud, broken, loud)
    assert not [event for event in heard.events if event["event"] == "alarm"]
    (alarm,) = [event for event in heard.hear(loud, loud).events if event["event"] == "alarm"]
    assert alarm["onset_s"] > 8.2


def test_a_file_that_cannot_be_used_is_a_problem_and_stops_nothing(tmp_path: Path) -> None:
    heard = Heard(tmp_path, n_channels=2)
    heard.listener.take(Piece(np.zeros((1, 0), np.float32), "bad.wav", True, problem="bad.wav is truncated"))
    heard.listener.take(Piece(sound(0.1, 2), "mono.wav", True))
    heard.listener.take(Piece(sound(0.1, 2, n_channels=3), "three.wav", True))
    heard.listener.finish()
    assert [event["recording"] for event in heard.events] == ["bad.wav", "mono.wav"]
    assert [*heard.listener.problems] == [
        "bad.wav is truncated",
        "mono.wav has one channel, and the model needs 2 (near, far)",
    ]
    assert {line["recording"] for line in heard.lines} == {"three.wav"}


def test_a_stream_of_too_few_channels_ends_at_once_and_is_no_problem_for_every_block(tmp_path: Path) -> None:
    for options in ({"n_channels": 2}, {"channel": 1}):
        heard = Heard(tmp_path, **options)
        with pytest.raises(AsdError, match=r"card has (one channel|only channel 0).*channels= tells how many"):
            heard.listener.take(Piece(sound(0.1, 0.1), "card"))
        assert not heard.events


def test_drift_comes_with_evidence_and_sound_and_alarms_are_no_part_of_it(tmp_path: Path) -> None:
    plan = {"drift_windows": 20, "drift_per_day": 1.0}
    assert "drift" not in Heard(tmp_path, **plan).hear(sound(0.1, 200)).kinds()
    heard = Heard(tmp_path, **plan).hear(sound(0.15, 12.6), sound(0.9, 50, 1), sound(0.15, 50, 2))
    heard.hear(sound(0.1, 45, 3)).listener.finish()
    drift, over = [event for event in heard.events if event["event"].startswith("drift")]
    assert over["event"] == "drift over"
    assert over["p_value"] >= over["level"]
    assert drift["direction"] == "higher"
    assert drift["p_value"] < drift["level"]
    assert drift["median"] == pytest.approx(0.15, abs=0.01)
    sounds = [read_wav(path)[0] for path in sorted(Path(drift["audio"]).glob("*.wav"))]
    assert len(sounds) > 3
    for wave in sounds:  # windows of the drifted sound, to be confirmed and trained on
        assert wave.shape[1] == RATE
        assert wave.std() == pytest.approx(0.15, abs=0.02)


def test_a_full_disk_loses_the_recording_and_not_the_listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("asd.deploy.listener.write_wav", full)
    heard = Heard(tmp_path).hear(sound(0.1, 3), sound(0.5, 4, 1), sound(0.1, 4, 2))
    assert heard.kinds() == ["alarm", "cleared", "problem"] or heard.kinds() == ["alarm", "problem", "cleared"]
    assert "No space left" in next(iter(heard.listener.problems))
    assert not list(tmp_path.rglob("*.wav"))
