from __future__ import annotations

import gc
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asd.challenge.years import get_year
from asd.data import audio, codecs
from asd.data.audio import read_sound, read_wav
from asd.data.codecs import write_wav
from asd.data.frontends import FRONT_ENDS
from asd.data.recordings import Recordings, Refused, check, defects, in_memory, joined
from asd.data.remarks import check_units, facts_of, mono, notices, of_test, of_training, unlike
from asd.data.supplemental import MixedSound, mix
from asd.stages.obtaining import recording_defects
from asd.types import AsdError, Clip, FrontEnd, Label, Split
from tests.machines import write_clip


def clip(path: Path) -> Clip:
    return Clip(path, "fan", "00", Split.TRAIN)


def test_batches_hold_every_clip_once_in_bounded_memory(tmp_path: Path) -> None:
    durations = [1.0, 0.5, 1.0, 0.25, 1.0, 0.5]
    paths = [write_clip(tmp_path / f"{i}.wav", i, duration) for i, duration in enumerate(durations)]
    recordings = check([clip(path) for path in paths], sample_rate_hz=16000)
    batches = list(recordings.batches(max_samples=32000))
    assert sorted(int(i) for indices, _ in batches for i in indices) == list(range(6))
    assert all(waves.numel() <= 32000 for _, waves in batches)
    for indices, waves in batches:
        for index, wave in zip(indices, waves, strict=True):
            np.testing.assert_array_equal(wave, read_wav(paths[index])[0][0])


def two_microphones(path: Path, near: float, far: float, seed: int = 0) -> Path:
    """A file whose microphones hear noise of these levels, independent of each other."""
    wave = np.random.default_rng(seed).normal(size=(2, 1600)) * [[near], [far]]
    write_wav(path, wave.astype(np.float32), 16000)
    return path


def test_the_front_end_decides_what_is_heard(tmp_path: Path) -> None:
    some = [clip(two_microphones(tmp_path / f"{i}.wav", 0.1, 0.05, i)) for i in range(3)]
    near, far = np.stack([read_wav(one.path)[0] for one in some]).swapaxes(0, 1)
    for name, wanted in (("near", near), ("far", far), ("mean", (near + far) / 2)):
        heard = check(some, sample_rate_hz=16000, front_end=FrontEnd(name))
        (_, batch), *none = heard.batches()
        assert not none
        np.testing.assert_allclose(batch, wanted, atol=1e-7)
        np.testing.assert_array_equal(heard.waveform(1), batch[1])
    cancelled = check(some, sample_rate_hz=16000, front_end=FrontEnd("cancel", residual=0.5))
    np.testing.assert_array_equal(cancelled.far().waveform(2), far[2])
    assert cancelled.key() != cancelled.far().key()


def test_broken_recordings_are_named(tmp_path: Path) -> None:
    levels = {"good": (0.1, 0.1), "deaf": (0.1, 0.0), "silent": (0.0, 0.1)}
    some = [clip(two_microphones(tmp_path / f"{name}.wav", *pair)) for name, pair in levels.items()]
    both = defects(check(some, sample_rate_hz=16000, front_end=FrontEnd("cancel")))
    assert [(one.path.stem, what.split(" (")[0]) for one, what in both] == [
        ("deaf", "has a silent far microphone"),
        ("silent", "is silent"),
    ]
    ((one, what),) = defects(check(some, sample_rate_hz=16000))
    assert (one.path.stem, what) == (
        "silent", "is silent (all samples are zero), unlike its channel 1 (train with channel=1 takes that)",
    )  # fmt: skip


def test_noise_is_mixed_in_before_the_front_end(tmp_path: Path) -> None:
    one, noise = (clip(two_microphones(tmp_path / f"{i}.wav", 0.1, 0.1, i)) for i in range(2))
    heard = check([one], sample_rate_hz=16000, front_end=FrontEnd("mean"))
    mixed = MixedSound.with_noise(read_sound(one.path, 2), read_sound(noise.path, 2), 3.0, 0.25)
    louder = replace(heard, sounds=(mixed,))
    wanted = mix(read_wav(one.path)[0], read_wav(noise.path)[0], 3.0, 0.25).mean(0)
    np.testing.assert_allclose(louder.waveform(0), wanted, atol=1e-7)
    assert louder.key() != heard.key()


def test_joined_recordings_and_a_subset_keep_their_order(tmp_path: Path) -> None:
    one, other = (clip(write_clip(tmp_path / f"{i}.wav", i)) for i in range(2))
    plain = check([one, other], sample_rate_hz=16000, front_end=FrontEnd())
    again = check([other], sample_rate_hz=16000)
    every = joined([plain, again])
    assert every.clips == (one, other, other)
    some = every.subset([2, 0])
    assert some.clips == (other, one)
    np.testing.assert_array_equal(some.waveform(1), plain.waveform(0))


def test_mono_files_are_found(tmp_path: Path) -> None:
    one, two = clip(write_clip(tmp_path / "1.wav", 0)), clip(two_microphones(tmp_path / "2.wav", 0.1, 0.1))
    found = check([one, two], sample_rate_hz=16000)
    (sentence,) = mono(found, 2026)
    assert sentence.startswith(
        f"{one.path} has one channel (as 1 of 2 {one.split} clips), and recordings of 2026 have two"
    )
    assert mono(found, 2025) == mono(found.subset([1]), 2026) == []


def test_wrong_rate_and_a_missing_microphone_are_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.wav", 0)
    with pytest.raises(AsdError, match="sampled at 16000 Hz, not 8000 Hz"):
        check([clip(path)], sample_rate_hz=8000)
    for front_end, word in ((FrontEnd("cancel"), "frontend=cancel"), (FrontEnd(residual=0.5), "residual=0.5")):
        with pytest.raises(AsdError, match=rf"a\.wav has one channel and {word} needs two"):
            check([clip(path)], sample_rate_hz=16000, front_end=front_end)


def test_a_file_is_read_once_while_memory_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = [clip(write_clip(tmp_path / f"{i}.wav", i)) for i in range(4)]
    wanted = [read_wav(one.path)[0][0] for one in some]
    reads: list[Path] = []

    def counted(path: Path) -> bytes:
        reads.append(path)
        return path.read_bytes()

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # two would read in any order
    monkeypatch.setattr(codecs, "read_bytes", counted)
    gc.collect()  # of recordings of other tests
    monkeypatch.setattr(audio, "KEPT_BYTES", audio._MEMORY.n_bytes + 2 * 32000)  # two clips of a second
    recordings = check(some, sample_rate_hz=16000)
    assert reads == [one.path for one in some]
    for i in range(4):
        np.testing.assert_array_equal(recordings.waveform(i), wanted[i])
    assert reads[4:] == [one.path for one in some[2:]]
    before = audio._MEMORY.n_bytes
    del recordings
    assert audio._MEMORY.n_bytes == before - 2 * 32000


def test_a_file_that_changes_in_use_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = clip(write_clip(tmp_path / "a.wav", 0))
    kept = check([one], sample_rate_hz=16000)
    monkeypatch.setattr(audio, "KEPT_BYTES", 0)
    read_again = check([one], sample_rate_hz=16000)
    before = kept.waveform(0)
    np.testing.assert_array_equal(read_again.waveform(0), before)
    write_clip(one.path, 1)
    np.testing.assert_array_equal(kept.waveform(0), before)
    with pytest.raises(AsdError, match=r"a\.wav has changed while it was in use"):
        read_again.waveform(0)


def test_what_cannot_be_used_is_an_error_or_left_out(tmp_path: Path) -> None:
    good, short, gone = (clip(tmp_path / f"{name}.wav") for name in ("good", "short", "gone"))
    write_clip(good.path, 0)
    write_clip(short.path, 1, 0.1)
    refused: list[Refused] = []
    found = check([gone, good, short], sample_rate_hz=16000, least_samples=2000, refused=refused)
    assert found.clips == (good,)
    assert [one for one, _ in refused] == [gone, short]
    assert "does not exist" in str(refused[0][1])
    with pytest.raises(AsdError, match=r"gone\.wav does not exist"):
        check([gone, good], sample_rate_hz=16000)
    with pytest.raises(AsdError, match=r"none of 2 recordings can be used, as .*gone\.wav does not exist"):
        check([gone, gone], sample_rate_hz=16000, refused=[])


def test_waveforms_in_memory_are_recordings() -> None:
    waves = [np.random.default_rng(i).normal(size=100 + i).astype(np.float32) for i in range(3)]
    found = in_memory(waves, 8000)
    assert found.lengths_samples.tolist() == [100, 101, 102]
    for i in range(3):
        np.testing.assert_array_equal(found.waveform(i), waves[i])
    assert found.fingerprint == in_memory(waves, 8000).fingerprint
    assert found.fingerprint != in_memory(waves[::-1], 8000).fingerprint
    with pytest.raises(AsdError, match="NaN or infinite"):
        in_memory([np.full(9, np.nan, np.float32)], 8000)


def test_a_front_end_that_leaves_the_numbers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = [clip(two_microphones(tmp_path / f"{i}.wav", 0.1, 0.1, i)) for i in range(3)]

    def broken(pairs: torch.Tensor) -> torch.Tensor:
        waveforms = pairs.mean(1)
        waveforms[1, 7] = torch.nan
        return waveforms

    monkeypatch.setitem(FRONT_ENDS, "mean", broken)
    recordings = check(some, sample_rate_hz=16000, front_end=FrontEnd("mean"))
    with pytest.raises(AsdError, match=r"frontend=mean makes NaN or infinity of \S+/1\.wav"):
        list(recordings.batches())


def test_recordings_keep_their_rate_and_their_front_end(tmp_path: Path) -> None:
    pairs = [np.random.default_rng(i).normal(size=(2, 50)).astype(np.float32) for i in range(2)]
    far = FrontEnd("far")
    found = in_memory(pairs, 8000, front_end=far)
    both = joined([found, in_memory(pairs, 8000)])
    for recordings in (found, both):
        assert (recordings.sample_rate_hz, recordings.front_end) == (8000, far)
        np.testing.assert_array_equal(recordings.waveform(1), pairs[1][1])
    with pytest.raises(AsdError, match="a waveform in memory has one channel"):
        in_memory([pairs[0][0]], 8000, front_end=far)
    one = clip(tmp_path / "one_sample.wav")
    write_wav(one.path, np.full((1, 1), 0.5, np.float32), 16000)
    assert check([one], sample_rate_hz=16000).sample_rate_hz == 16000
    assert in_memory([np.full(1, 0.5, np.float32)], 8000).lengths_samples.tolist() == [1]


def test_of_waveforms_in_memory_nothing_is_known() -> None:
    (found,) = in_memory([np.ones(3, np.float32)], 8000).clips
    assert (found.section, found.split, found.domain, found.label) == ("00", Split.TEST, None, None)
    known = clip(Path("a.wav"))
    assert in_memory([np.ones(3, np.float32)], 8000, [known]).clips == (known,)


def test_the_longest_clips_come_first_and_a_longer_one_alone() -> None:
    waves = [np.full(n, 0.1, np.float32) for n in (5, 30, 5, 30, 5)]
    batches = [(indices.tolist(), waves.shape[1]) for indices, waves in in_memory(waves, 8000).batches(max_samples=14)]
    assert batches == [([1], 30), ([3], 30), ([0, 2], 5), ([4], 5)]


def test_the_shortest_input_is_long_enough(tmp_path: Path) -> None:
    one = clip(write_clip(tmp_path / "a.wav", 0, 0.1))
    assert len(check([one], sample_rate_hz=16000, least_samples=1600)) == 1
    with pytest.raises(AsdError, match=r"a\.wav has 1600 samples, fewer than the 1601 .*, or record for longer"):
        check([one], sample_rate_hz=16000, least_samples=1601)
    with pytest.raises(AsdError, match=r"a\.wav has 800 samples, .*, or train with sample_rate_hz=16000"):
        check([one], sample_rate_hz=8000, least_samples=1600, resample=True)


def test_the_first_of_several_reasons_is_given(tmp_path: Path) -> None:
    gone = [clip(tmp_path / f"{name}.wav") for name in ("first", "second")]
    with pytest.raises(AsdError, match=r"none of 2 recordings can be used, as \S+first\.wav does not exist"):
        check(gone, sample_rate_hz=16000, refused=[])
    assert len(check([], sample_rate_hz=16000)) == 0


def test_recordings_of_another_kind_are_named_one_by_one(tmp_path: Path) -> None:
    one, two = write_clip(tmp_path / "one.wav", 0), two_microphones(tmp_path / "two.wav", 0.1, 0.1)
    slow, gone = tmp_path / "slow.wav", tmp_path / "gone.wav"
    write_wav(slow, np.full((1, 90), 0.1, np.float32), 8000)
    found = [sentence for path in (one, two, slow, gone) for sentence in recording_defects(path, get_year(2025))]
    assert [sentence.split("; ")[0] for sentence in found[:2]] == [
        f"{two} has 2 channels, not 1",
        f"{slow} is sampled at 8000 Hz, not 16000 Hz",
    ]
    assert found[2].startswith(f"{gone} does not exist")
    assert [*recording_defects(two, get_year(2026))] == []
    (mono_file,) = recording_defects(one, get_year(2026))
    assert mono_file.startswith(f"{one} has 1 channel, not 2; ")


def test_floats_in_16_bit_steps_are_refused_beside_others_and_said_alone(tmp_path: Path) -> None:
    def read(*levels: float) -> Recordings:
        paths = [tmp_path / f"{level:g}.wav" for level in levels]
        for path, level in zip(paths, levels, strict=True):
            soundfile.write(path, np.random.default_rng(0).uniform(-level, level, 1600), 16000, subtype="FLOAT")
        return check([clip(path) for path in paths], sample_rate_hz=16000)

    whole, steps, loud = read(1.0, 0.1), read(12000.0, 300.0), read(0.1, 2.0)
    for recordings in (whole, steps, loud):
        check_units(recordings)
    with pytest.raises(
        AsdError, match=r"/5000\.wav holds floats far beyond 1, and 2 of 4 .* leave out 5000.wav, 40.wav"
    ):
        check_units(read(0.5, 5000.0, 40.0, 0.01))
    assert notices(whole) == notices(loud) == []
    assert "2 of 2 recordings hold floats far beyond the full scale of 1" in notices(steps)[0]
    assert unlike(steps, facts_of(steps)) == unlike(whole, facts_of(loud)) == []
    (sentence,) = unlike(steps, facts_of(whole))
    assert "2 of 2 recordings are in 16-bit steps (12000.wav, 300.wav), and those that were learnt from" in sentence
    assert "learnt from are in 16-bit steps" in unlike(whole, facts_of(steps))[0]


def test_files_of_another_rate_than_those_that_were_learnt_from_are_named(tmp_path: Path) -> None:
    def at(*rates_hz: int) -> Recordings:
        clips = []
        for rate_hz in rates_hz:
            wave = np.random.default_rng(rate_hz).normal(0, 0.1, (1, rate_hz)).astype(np.float32)
            write_wav(tmp_path / f"{rate_hz}.wav", wave, rate_hz)
            clips.append(clip(tmp_path / f"{rate_hz}.wav"))
        return check(clips, sample_rate_hz=16000, resample=True)

    saying = "1 of 1 recordings are sampled at {} Hz, and those that were learnt from at {} Hz: at the upper end"
    assert unlike(at(48000), facts_of(at(16000)))[0].startswith(saying.format(48000, 16000))
    assert unlike(at(16000), facts_of(at(44100, 48000)))[0].startswith(saying.format(16000, "44100 and 48000"))
    assert unlike(at(16000), facts_of(at(8000)))[0].startswith(saying.format(16000, 8000))
    assert unlike(at(48000), facts_of(at(44100))) == unlike(at(48000, 16000), facts_of(at(16000, 44100))) == []
    (sentence,) = unlike(at(8000), facts_of(at(16000)))  # one for a rate
    assert "hold nothing above 4000 Hz" in sentence


def test_a_mean_of_other_channels_than_were_learnt_from_is_named(tmp_path: Path) -> None:
    def read(*dead: int | None, n_channels: int = 3) -> Recordings:
        clips = []
        for i, channel in enumerate(dead):
            waves = np.random.default_rng(i).normal(0, 0.1, (n_channels, 16000)).astype(np.float32)
            if channel is not None:
                waves[channel] = 0.25  # which is no sound
            write_wav(tmp_path / f"{len(dead)}-{i}-{n_channels}.wav", waves, 16000)
            clips.append(clip(tmp_path / f"{len(dead)}-{i}-{n_channels}.wav"))
        return check(clips, sample_rate_hz=16000, front_end=FrontEnd("near", 0.0, "mean"))

    whole = read(None, None, None)
    assert unlike(read(None, None), facts_of(whole)) == of_training(whole) == of_training(read(1, 2)) == []
    (sentence,) = unlike(read(None, 2), facts_of(whole))
    assert sentence.startswith(
        "1 of 2 recordings are the mean of 2 channels with a sound, and other ones of 3 (2-1-3.wav)"
    )
    assert unlike(read(None, n_channels=1), facts_of(whole))[0].startswith(
        "1 of 1 recordings are the mean of 1 channels"
    )
    (sentence,) = of_training(read(None, 0, None, None))
    assert "1 of 4 recordings are the mean of 2 channels with a sound, and other ones of 3 (4-1-3.wav)" in sentence
    assert unlike(read(2), {name: what for name, what in facts_of(whole).items() if name != "n_heard"}) == []


@pytest.mark.parametrize(
    ("durations_s", "said"),
    [
        ((1.0, 2.0), ""),
        ((0.97, 39.0), ""),
        ((0.9, 1.5), "1 of 2 recordings last 0.9 s, and those that were learnt from 1 to 2 s"),
        ((0.5, 0.6), "2 of 2 recordings last 0.5 to 0.6 s, and"),
    ],
)
def test_shorter_recordings_are_told(durations_s: tuple[float, ...], said: str) -> None:
    def recorded(*lengths_s: float) -> Recordings:
        rng = np.random.default_rng(0)
        return in_memory([rng.normal(0, 0.1, round(16000 * s)).astype(np.float32) for s in lengths_s], 16000)

    found = unlike(recorded(*durations_s), facts_of(recorded(1.0, 1.5, 2.0)))
    assert len(found) == bool(said)
    assert "".join(found).startswith(said)


def test_test_clips_that_were_learnt_from_are_told_whatever_they_are_called(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2), ("copy of a", 1), ("c", 3)):
        write_clip(tmp_path / f"{name}.wav", seed)
    one, two, copy, other = [
        Clip(tmp_path / f"{name}.wav", "fan", "00", Split.TEST) for name in ("a", "b", "copy of a", "c")
    ]
    learnt = check([one, two], sample_rate_hz=16000)
    assert of_test(check([other], sample_rate_hz=16000), facts_of(learnt)) == []
    (sentence,) = of_test(check([copy, other], sample_rate_hz=16000), facts_of(learnt))
    assert "1 of 2 test clips are copies of training clips (copy of a.wav)" in sentence


def test_test_clips_of_one_content_are_told_and_contradictions_first(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav", 1)
    write_clip(tmp_path / "b.wav", 2)
    for copy in ("c", "d"):
        shutil.copy(tmp_path / "a.wav", tmp_path / f"{copy}.wav")

    def said(**labels: Label | None) -> list[str]:
        clips = [Clip(tmp_path / f"{name}.wav", "fan", "00", Split.TEST, label=label) for name, label in labels.items()]
        return of_test(check(clips, sample_rate_hz=16000), {})

    assert said(a=Label.NORMAL, b=Label.ANOMALY) == []
    assert said(a=None, c=None, b=Label.ANOMALY) == []
    (sentence,) = said(a=Label.NORMAL, b=Label.ANOMALY, c=Label.NORMAL)
    assert sentence.startswith("1 of 3 test clips are copies of others (a.wav, c.wav): they count more than once")
    (sentence,) = said(a=Label.NORMAL, b=Label.ANOMALY, c=Label.ANOMALY, d=Label.NORMAL)
    assert sentence.startswith(
        "3 of 4 test clips are normal by one name and anomalous by another, with the same content"
    )
