from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asd.data.given import clips_of_files, from_arrays, training_recordings
from asd.data.microphones import FrontEnd
from asd.types import AsdError, Domain, Label, Split
from tests.machines import write_clip


def test_names_tell_what_they_can_and_need_not(tmp_path: Path) -> None:
    named = write_clip(tmp_path / "section_02_target_train_normal_0001_speed_5.wav", 1)
    plain = write_clip(tmp_path / "inside/Monday 8 am.wav", 2)
    one, other = sorted(
        clips_of_files(tmp_path, "fan", Split.TRAIN), key=lambda clip: clip.section, reverse=True
    )
    assert (one.path, one.section, one.domain, one.attributes) == (named, "02", Domain.TARGET, {"speed": "5"})
    assert (other.path, other.section, other.domain, other.label) == (plain, "00", None, Label.NORMAL)
    (scored,) = clips_of_files(named, "fan", Split.TEST)
    assert (scored.split, scored.section) == (Split.TEST, "02")


def test_an_anomaly_is_nothing_to_learn_from(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "section_00_source_test_anomaly_0001.wav", 1)
    with pytest.raises(AsdError, match="is an anomaly by its name"):
        clips_of_files([clip], "fan", Split.TRAIN)
    assert clips_of_files([clip], "fan", Split.TEST)[0].label is Label.ANOMALY


def test_files_tell_their_rate_and_arrays_do_not(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.wav", 1)
    for given in (clip, str(clip), [clip], (str(path) for path in [clip]), tmp_path):
        found = training_recordings(given, None, "fan")
        assert (found.sample_rate_hz, len(found)) == (16000, 1)
    with pytest.raises(AsdError, match="8000 Hz"):
        training_recordings(clip, 8000, "fan")
    with pytest.raises(AsdError, match="sample_rate_hz= is missing"):
        training_recordings(np.zeros((2, 100)), None, "fan")


def test_arrays_become_recordings() -> None:
    waves = np.random.default_rng(0).normal(0, 0.1, (3, 400))
    found = from_arrays(waves, 8000, FrontEnd(), Split.TEST)
    assert (len(found), found.sample_rate_hz) == (3, 8000)
    np.testing.assert_array_equal(found.waveform(1), waves[1].astype(np.float32))
    assert found.clips[1].label is None


@pytest.mark.parametrize(
    ("waveforms", "saying"),
    [
        ([], "there are no waveforms"),
        ([np.zeros(9, np.int16)], "waveform 0 holds int16, not floats .* divide 16-bit integers by 32768"),
        (np.ones(5), "waveform 0 has 0 dimensions"),
        ([np.full(9, np.nan)], "NaN|nan|finite|no recording"),
        ([np.ones(0)], "holds no samples"),
    ],
)
def test_what_is_no_waveform_is_named(waveforms: list[np.ndarray], saying: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(AsdError, match=saying):
        from_arrays(waveforms, 8000, FrontEnd(), Split.TEST)
