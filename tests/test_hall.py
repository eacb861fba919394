from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.challenge.files import list_clips
from asd.challenge.names import CONTENT
from asd.data.frontends import cancel
from asd.synthetic import make_machines
from asd.synthetic.design import Health, draw_design, generator
from asd.synthetic.hall import ALONE_DB, Content, Hall, draw_hall, record_in_hall
from asd.synthetic.sound import FAR_DB
from asd.types import AsdError, Domain, Split

SMALL = {"train_source": 2, "train_target": 1, "test_per_cell": 1, "duration_s": 0.5}


@cache
def hall(machine: str, seed: int) -> Hall:
    return draw_hall(machine, seed, 16000)


def record(
    content: Content = "both", snr_db: float = 0.0, machine: str = "fan", seed: int = 0, clip: int = 0
) -> np.ndarray:
    """One healthy clip of the source."""
    design = draw_design(machine, seed)
    return record_in_hall(
        hall(machine, seed),
        design,
        Domain.SOURCE,
        Health(),
        generator("test", clip),
        speed_rpm=design.scenes[Domain.SOURCE].speeds_rpm[1],
        duration_s=3.0,
        snr_db=snr_db,
        content=content,
    ).astype(np.float64)


def level_db(x: np.ndarray) -> float:
    return float(10 * np.log10(np.square(x).mean()))


@pytest.mark.parametrize("machine", ["fan", "gearbox"])
@pytest.mark.parametrize("snr_db", [-6.0, 6.0])
def test_the_ratio_at_the_near_microphone_is_the_one_asked_for(machine: str, snr_db: float) -> None:
    ratios = [
        level_db(record("machine", snr_db, machine, clip=i)[0]) - level_db(record("noise", snr_db, machine, clip=i)[0])
        for i in range(12)
    ]
    assert np.mean(ratios) == pytest.approx(snr_db, abs=1.5)  # both levels vary by 1 to 1.5 dB


def test_a_recording_is_the_sum_of_its_parts() -> None:
    both, machine, noise = record(), record("machine"), record("noise")
    np.testing.assert_allclose(both, machine + noise, atol=1e-6)
    assert both.shape == (2, 48000)


def test_the_machine_is_faint_at_the_far_microphone_and_the_noise_is_not() -> None:
    machine, noise = record("machine"), record("noise")
    assert level_db(machine[1]) - level_db(machine[0]) == pytest.approx(FAR_DB, abs=4.0)
    assert level_db(noise[1]) - level_db(noise[0]) == pytest.approx(0.0, abs=1.0)


def test_the_noise_is_shared_up_to_room_and_a_part_of_its_own() -> None:
    noise = torch.from_numpy(record("noise")[None]).float()
    left_db = level_db(cancel(noise)[0].numpy()) - level_db(noise[0, 0].numpy())
    assert ALONE_DB < left_db < -2.0  # frames shorter than the reverberation cannot take all of the rest


def test_supplemental_clips_are_read_as_what_they_are(tmp_path: Path) -> None:
    (folder,) = make_machines(tmp_path, ["fan"], **SMALL, channels=2, snr_db=3, supplemental=5)
    clips = list_clips(tmp_path, "fan", Split.SUPPLEMENTAL)
    assert [clip.attributes[CONTENT] for clip in clips].count("noise") == 5
    assert [clip.attributes[CONTENT] for clip in clips].count("machine") == 5
    assert {clip.domain for clip in clips} == set(Domain)
    assert json.loads((folder / "synthetic.json").read_text())["supplemental"] == 5


def test_one_microphone_is_the_near_one_of_two(tmp_path: Path) -> None:
    for channels in (1, 2):
        make_machines(tmp_path / str(channels), ["fan"], **SMALL, channels=channels, snr_db=3, supplemental=1)
    from asd.data.audio import read_wav

    for path in (tmp_path / "1").rglob("*.wav"):
        other = tmp_path / "2" / path.relative_to(tmp_path / "1")
        np.testing.assert_array_equal(read_wav(path)[0][0], read_wav(other)[0][0])


def test_a_folder_of_another_hall_or_of_no_whole_recipe_is_refused(tmp_path: Path) -> None:
    (folder,) = make_machines(tmp_path, ["fan"], **SMALL)
    with pytest.raises(AsdError, match="was made with snr_db=None"):
        make_machines(tmp_path, ["fan"], **SMALL, snr_db=0)
    recipe = json.loads((folder / "synthetic.json").read_text())
    del recipe["snr_db"], recipe["supplemental"]
    (folder / "synthetic.json").write_text(json.dumps(recipe))
    with pytest.raises(AsdError, match=r"is not a recipe .*snr_db"):
        make_machines(tmp_path, ["fan"], **SMALL)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"supplemental": 3}, "supplemental=3 needs a hall"),
        ({"supplemental": -1, "snr_db": 0}, "supplemental=-1 is too small"),
        ({"snr_db": 99}, "snr_db=99 must lie between"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, words: dict[str, int], sentence: str) -> None:
    with pytest.raises(AsdError, match=sentence):
        make_machines(tmp_path, ["fan"], **SMALL, **words)
    assert not (tmp_path / "fan").exists()
