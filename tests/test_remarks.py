"""What is said of recordings by how they are stored, sentence by sentence."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asd.data.audio import Sound
from asd.data.recordings import Recordings, in_memory
from asd.data.remarks import facts_of, learnt_from, notices, of_test, of_training, tell, unlike
from asd.detectors.windowed import of_no_section
from asd.types import Clip, FrontEnd, Label, Split


def recorded(*sounds: dict[str, Any], front_end: FrontEnd | None = None, **of_clips: list[Any]) -> Recordings:
    """Recordings a.wav, b.wav and so on of one second, by what differs from 16 kHz, one channel, 16 bits."""
    made, clips = [], []
    for i, given in enumerate(sounds):
        path = Path(f"{chr(ord('a') + i)}.wav")
        usual = {"content": f"{i:064d}"[::-1], "file_rate_hz": 16000, "n_channels": 1, "n_samples": 16000}
        made.append(Sound(path=path, sample_rate_hz=16000, **{**usual, **given}))
        facts = {"section": "00", **{name: values[i] for name, values in of_clips.items()}}
        clips.append(Clip(path, "fan", split=Split.TEST, **facts))
    return Recordings(clips, made, 16000, front_end or FrontEnd())


def test_what_is_resampled_is_counted_by_rate() -> None:
    rates = [{"file_rate_hz": rate} for rate in (48000, 8000, 16000, 48000, 44100)]
    assert notices(recorded(*rates)) == [
        "recordings are resampled to 16000 Hz: 1 of 5 at 8000 Hz, 1 of 5 at 44100 Hz, 2 of 5 at 48000 Hz; "
        "those at 8000 Hz hold nothing above 4000 Hz"
    ]
    assert notices(recorded(rates[0], rates[2])) == ["recordings are resampled to 16000 Hz: 1 of 2 at 48000 Hz"]
    assert notices(recorded({}, {})) == []


def test_channels_that_are_not_used_are_told_unless_they_were_chosen() -> None:
    several = [{"n_channels": n} for n in (1, 2, 4)]
    said = (
        "{} of 3 recordings have {} channels, and the first is used; "
        "channel=1 takes the second, channel=mean their mean"
    )
    assert notices(recorded(*several)) == [said.format(2, "up to 4")]
    assert notices(recorded(several[0], several[1], several[1])) == [said.format(2, "2")]
    for chosen in (FrontEnd("mean"), FrontEnd(channel=0), FrontEnd(residual=0.5)):
        assert notices(recorded(*several, front_end=chosen)) == []


def test_floats_in_steps_are_told() -> None:
    assert notices(recorded({"peak": 8.1}, {"peak": 8.0})) == [
        "1 of 2 recordings hold floats far beyond the full scale of 1: record new ones in the same units, or bring "
        "all to it (16-bit steps are divided by 32768)"
    ]


def test_kinds_are_what_a_model_keeps_of_its_recordings() -> None:
    found = facts_of(
        recorded(
            {"lossy": "MP3", "file_rate_hz": 22050, "content": "b" * 64},
            {"n_samples": 8000, "file_rate_hz": 48000, "content": "a" * 64},
            {"lossy": "MP3", "peak": 100.0, "content": "a" * 64},
        )
    )
    assert found == {
        "lossy": ["", "MP3"],
        "top_hz": 8000,
        "rates_hz": [16000, 22050, 48000],
        "n_heard": [1],
        "in_steps": True,
        "contents": ["a" * 16, "b" * 16],
        "seconds": [0.5, 1.0],
    }
    assert facts_of(recorded({"file_rate_hz": 8001}))["top_hz"] == 4000


@pytest.mark.parametrize(
    ("heard", "learnt", "said"),
    [
        (["MP3", "", "MP3"], [""], "2 of 3 recordings are compressed with a loss (MP3), and those that were learnt "
         "from without loss"),
        (["MP3", "OPUS"], [""], "2 of 2 recordings are compressed with a loss (MP3 or OPUS), and those that were "
         "learnt from without loss"),
        ([""], ["MP3"], "1 of 1 recordings are without loss, and those that were learnt from compressed with a loss "
         "(MP3)"),
        (["OPUS"], ["", "MP3"], "1 of 1 recordings are compressed with a loss (OPUS), and those that were learnt from "
         "without loss or compressed with a loss (MP3)"),
        (["MP3"], ["", "MP3"], ""),
    ],
)  # fmt: skip
def test_what_a_codec_does_counts_as_anomalous(heard: list[str], learnt: list[str], said: str) -> None:
    known = facts_of(recorded(*({"lossy": name} for name in learnt)))
    found = unlike(recorded(*({"lossy": name} for name in heard)), known)
    way = ": what a codec does to a sound counts as anomalous; record, or train, in one format"
    assert found == ([said + way] if said else [])


def test_what_reaches_less_far_is_told_with_the_rate_to_train_at() -> None:
    learnt = facts_of(recorded({"file_rate_hz": 48000}))
    narrow = recorded({"file_rate_hz": 8000}, {"file_rate_hz": 11025}, {"file_rate_hz": 48000})
    assert unlike(narrow, learnt) == [
        "2 of 3 recordings hold nothing above 4000 Hz, and those that were learnt from reach 8000 Hz: that counts as "
        "anomalous; record at one rate, or train with sample_rate_hz=8000"
    ]
    assert unlike(recorded({"file_rate_hz": 16000}), learnt) == [
        "1 of 1 recordings are sampled at 16000 Hz, and those that were learnt from at 48000 Hz: at the upper end they "
        "differ, and that counts as anomalous; record at one rate"
    ]
    assert unlike(recorded({"file_rate_hz": 96000}), learnt) == []  # of which the same is left


def test_units_and_lengths_are_told_one_behind_the_other() -> None:
    learnt = facts_of(recorded({}, {"n_samples": 32000}))
    assert unlike(recorded({"peak": 9.0, "n_samples": 8000}, {}), learnt) == [
        "1 of 2 recordings are in 16-bit steps (a.wav), and those that were learnt from are of full scale 1: to some "
        "detectors these differ; bring all to full scale 1",
        "1 of 2 recordings last 0.5 s, and those that were learnt from 1 to 2 s: to most detectors a shorter one is "
        "anomalous; record as long, or train with recordings as short as these",
    ]
    assert unlike(recorded({"n_samples": 15200}, {"n_samples": 16000 * 600}), learnt) == []  # 0.95 s, 10 min
    assert unlike(recorded({"n_samples": 16000 * 3600}, {"n_samples": 16000 * 601}), learnt) == [
        "2 of 2 recordings last 601 to 3600 s: each gets the mean score of its windows, in which a fault of moments is "
        "lost; `listen input=FILE` scores window by window"
    ]
    assert unlike(recorded({"n_samples": 16000 * 1200}), facts_of(recorded({"n_samples": 16000 * 20}))) == []
    assert len(unlike(recorded({"n_samples": 16000 * 1201}), facts_of(recorded({"n_samples": 16000 * 20})))) == 1
    assert len(unlike(recorded({"n_samples": 15199}), learnt)) == 1
    assert unlike(recorded({}), {}) == []


def test_what_is_far_louder_or_quieter_than_all_training_clips_is_told_in_the_same_units() -> None:
    learnt = facts_of(recorded({"level_db": -30.0}, {"level_db": -24.0}, {}))
    assert learnt["levels_db"] == [-30.0, -24.0]
    within = recorded({"level_db": -18.0}, {"level_db": -36.0}, {}, {"level_db": -200.0, "defect": "is silent"})
    assert unlike(within, learnt) == unlike(recorded({"level_db": 0.0}), facts_of(recorded({}))) == []
    beyond = recorded({"level_db": -17.0}, {"level_db": -46.0}, {"level_db": -10.0}, {"level_db": -25.0})
    so = "to the default detector loudness alone is no fault; see whether the machine or the gain of the microphone has"
    assert unlike(beyond, learnt) == [
        f"2 of 4 recordings are louder than all that were learnt from, by up to 14 dB (a.wav, c.wav): {so} changed",
        f"1 of 4 recordings are quieter than all that were learnt from, by up to 16 dB (b.wav): {so} changed",
    ]
    (units,) = unlike(recorded({"level_db": 60.0, "peak": 9000.0}), learnt)
    assert "16-bit steps" in units
    tone = np.sin(np.arange(16000, dtype=np.float32))
    known = facts_of(in_memory([0.01 * tone], 16000))
    assert "by up to 20 dB (000000.wav)" in unlike(in_memory([0.1 * tone + 0.5], 16000), known)[0]  # no offset counts
    assert unlike(in_memory([0.015 * tone], 16000), known) == []


def test_what_is_said_is_of_one_kind_whatever_the_names_are(caplog: pytest.LogCaptureFixture) -> None:
    told: set[str] = set()
    for name in ("a.wav", "a (1) b.wav", "c)d.wav"):
        tell(logging.WARNING, "fan", [f"2 of 9 recordings are louder, by 8 dB ({name}): see"], told)
    assert caplog.messages == ["fan: 2 of 9 recordings are louder, by 8 dB (a.wav): see"]


def test_short_is_what_is_shorter_than_the_windows_of_training_clips() -> None:
    half = recorded({"n_samples": 8000})
    few = recorded({"n_samples": 8000}, *[{"n_samples": 32000}] * 39)  # nearly all of 2 s
    assert unlike(half, facts_of(few))[0].startswith(
        "1 of 1 recordings last 0.5 s, and those that were learnt from 2 s:"
    )
    long = recorded({"n_samples": 160000})
    assert "last 0.5 s, and those that were learnt from 10 s" in unlike(half, facts_of(long))[0]
    assert unlike(half, facts_of(long, window_s=0.5)) == unlike(long, facts_of(long, window_s=20.0)) == []
    assert "last 0.5 s, and those that were learnt from 1 to 10 s" in unlike(half, facts_of(long, window_s=1.0))[0]


def test_of_what_comes_from_memory_units_and_length_are_told_but_neither_codec_nor_rate() -> None:
    learnt = facts_of(recorded({"lossy": "MP3", "file_rate_hz": 48000}))
    tone = np.sin(np.arange(16000, dtype=np.float32))
    assert len(unlike(recorded({}), learnt)) == 2  # codec and rate
    assert unlike(in_memory([tone], 16000), learnt) == []
    assert unlike(in_memory([tone[:8000]], 16000), learnt) == [
        "1 of 1 recordings last 0.5 s, and those that were learnt from 1 s: to most detectors a shorter one is "
        "anomalous; record as long, or train with recordings as short as these"
    ]
    units = (
        "1 of 1 recordings are in 16-bit steps (000000.wav), and those that were learnt from are of full scale 1: to "
        "some detectors these differ; bring all to full scale 1"
    )
    in_steps = in_memory([32768 * tone], 16000)
    for known in (learnt, facts_of(in_memory([tone], 16000))):
        assert unlike(in_steps, known) == [units]
    assert "recordings are of full scale 1" in unlike(in_memory([tone], 16000), facts_of(in_steps))[0]
    assert unlike(in_steps, facts_of(in_steps)) == unlike(recorded(), learnt) == []


def test_copies_are_told_by_their_content() -> None:
    same, other = {"content": "1" * 64}, {"content": "1" * 15 + "2" * 49}
    learnt = recorded(same, {}, same, same, {})
    assert of_training(learnt) == [
        "2 of 5 training clips are copies of others (a.wav, c.wav, d.wav): they teach nothing, and their "
        "scores may make thresholds too low; remove them"
    ]
    assert of_training(recorded(same, {}, same)) == [
        "1 of 3 training clips are copies of others (a.wav, c.wav): they teach nothing, and their "
        "scores may make thresholds too low; remove them"
    ]
    assert of_training(recorded(same, other)) == []
    assert of_test(recorded(other, same), facts_of(learnt)) == [
        "1 of 2 test clips are copies of training clips (b.wav): they score lower than new recordings do, so results "
        "are too good or wrong; remove them from one side"
    ]
    assert of_test(recorded(same), {}) == learnt_from(recorded(same), {}) == []
    assert learnt_from(recorded(other, same), facts_of(learnt)) == [
        "1 of 2 recordings were learnt from (b.wav): they score lower than new ones do, so their scores say nothing of "
        "the machine or of the threshold"
    ]


def test_labels_of_one_content_are_told() -> None:
    same, normal, anomaly = {"content": "1" * 64}, Label.NORMAL, Label.ANOMALY
    assert of_test(recorded(same, {}, same, label=[normal, normal, anomaly]), {}) == [
        "2 of 3 test clips are normal by one name and anomalous by another, with the same content (a.wav, c.wav): "
        "results are wrong; remove one of each"
    ]
    assert of_test(recorded(same, same, same, {}, label=[normal, normal, normal, anomaly]), {}) == [
        "2 of 4 test clips are copies of others (a.wav, b.wav, c.wav): they count more than once in results; "
        "remove them"
    ]
    assert of_test(recorded(same, same, label=[None, normal]), {}) == []


def test_a_section_that_the_model_does_not_have_is_told() -> None:
    found = recorded({}, {}, {}, section=["00", "07", "08"])
    assert of_no_section(found, ["00", "01"]) == [
        "2 of 3 recordings are of section 07, and the model was trained on 00, 01: they are scored against all of "
        "these; name theirs with section="
    ]
    (sentence,) = of_no_section(found, ["03"])  # section 00 is of no meaning where there are no others
    assert sentence.startswith("2 of 3 recordings are of section 07, and the model was trained on 03: they are")
    assert of_no_section(recorded({}, {}), ["03"]) == of_no_section(found, ["00", "07", "08"]) == []
