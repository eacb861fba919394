"""`data-check` looks into every recording's header, and finds what training would stumble over."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asd.challenge.installed import install_machine
from asd.challenge.years import get_year
from asd.synthetic import make_machines
from tests.command import Answer, asd, refuses, succeeds, tiny_machines
from tests.miniature_year import zipped

RAW = Path("data/dcase2025t2/dev_data/raw")
FAN = ("machine=fan", "part=dev")


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The recordings of a small machine, put by hand where the development set of 2025 belongs."""
    monkeypatch.chdir(tmp_path)
    tiny_machines(RAW, "fan")
    return sorted(RAW.glob("fan/*/*.wav"))


def check(*words: str) -> Answer:
    return asd("data-check", "year=2025", *FAN, *words)


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], rate_hz: int = 16000) -> None:
    soundfile.write(path, change(soundfile.read(path)[0]), rate_hz)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda p: p.write_bytes(b""), "(0 bytes) is not a readable WAV file"),
    "cut in the header": (lambda p: p.write_bytes(p.read_bytes()[:20]), "(20 bytes) is not a readable WAV file"),
    "cut in the samples": (
        lambda p: p.write_bytes(p.read_bytes()[:9000]),
        "is truncated: its header promises 32000 bytes of samples, the file holds 8956; copy it again",
    ),
    "header only": (lambda p: rewrite(p, lambda x: x[:0]), "holds no samples; remove it or copy it again"),
    "8 kHz": (lambda p: rewrite(p, lambda x: x[::2], 8000), "is sampled at 8000 Hz, not 16000 Hz"),
    "two microphones": (
        lambda p: rewrite(p, lambda x: np.stack([x, x], 1)),
        "has 2 channels, not 1; check that it is of that year, or copy it again",
    ),
}


def test_whole_recordings_are_all_there(clips: list[Path]) -> None:
    answer = check()
    assert answer.code == 0
    assert "by hand" in answer.out
    assert answer.out.endswith("all there\n")


def test_recordings_count_whatever_the_case_of_their_ending(clips: list[Path]) -> None:
    clips[0].rename(clips[0].with_suffix(".WAV"))
    (clips[0].parent / "._copied.wav").write_bytes(b"of the Mac's Finder")
    answer = check()
    assert answer.code == 0
    assert re.search(rf"fan +dev +{len(clips)} +by hand", answer.out)


def test_attribute_rows_without_a_recording_are_named(clips: list[Path]) -> None:
    clips[0].unlink()
    assert f"WARNING: {RAW}/fan/attributes_*.csv has rows for recordings that are not there: 1 (" in check().err


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("defect", BROKEN)
def test_a_damaged_recording_is_named_in_a_sentence(clips: list[Path], split: str, defect: str) -> None:
    clip = [path for path in clips if path.parent.name == split][-1]
    damage, sentence = BROKEN[defect]
    damage(clip)
    answer = check()
    assert answer.code == 1
    assert f"damaged  1 of {len(clips)} recordings cannot be used" in answer.out
    assert f"\n  {clip} {sentence}" in answer.out
    assert check("quick=true").code == 0


def test_supplemental_recordings_are_looked_into_as_well(clips: list[Path]) -> None:
    noise = RAW / "fan/supplemental/section_00_source_supplemental_noise_0000.wav"
    noise.parent.mkdir()
    noise.write_bytes(b"")
    answer = check()
    assert answer.code == 1
    assert f"  {noise} (0 bytes) is not a readable WAV file" in answer.out


def test_training_says_the_same_of_it(clips: list[Path]) -> None:
    clips[-1].write_bytes(clips[-1].read_bytes()[:9000])
    sentence = refuses("train", "machine=fan", saying="is truncated").removeprefix("error: ")
    assert f"  {sentence}\n" in check().out


def test_of_many_damaged_recordings_the_first_are_named(clips: list[Path]) -> None:
    for clip in clips[:5]:
        clip.write_bytes(b"")
    answer = check()
    assert f"fan      dev   {len(clips) - 5} " in answer.out
    assert f"5 of {len(clips)} recordings cannot be used" in answer.out
    assert answer.out.count("is not a readable WAV file") == 3
    assert "  and 2 more of fan dev\n" in answer.out


def test_the_advice_is_a_command_that_replaces_them(clips: list[Path]) -> None:
    """What was put there by hand, `data` takes as it is unless told otherwise; it replaces no other machine."""
    clips[0].write_bytes(b"")
    tiny_machines(RAW, "valve")
    answer = asd("data-check", "year=2025", "machine=fan,valve", "part=dev")
    assert answer.out.endswith(
        "1 of 2 are not; next: python -m asd data year=2025 part=dev machine=fan overwrite=true\n"
    )
    answer = asd("data-check", "year=2025", "machine=fan,bearing", "part=dev")
    assert answer.out.endswith("2 of 2 are not; next: python -m asd data year=2025 part=dev machine=fan,bearing\n")


def test_one_microphone_where_the_year_has_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path("data/dcase2026t2/dev_data/raw")
    make_machines(root, ["fan"], train_source=2, train_target=1, test_per_cell=1, duration_s=0.3, channels=2)
    succeeds("data-check", "year=2026", *FAN)
    clip = min(root.glob("fan/train/*.wav"))
    rewrite(clip, lambda x: x[:, 0])
    answer = asd("data-check", "year=2026", *FAN)
    assert answer.code == 1
    assert f"{clip} has 1 channel, not 2" in answer.out


def test_what_was_damaged_before_it_was_published_is_found_behind_its_manifest(
    clips: list[Path], tmp_path: Path
) -> None:
    contents = {f"fan/{clip.parent.name}/{clip.name}": clip.read_bytes() for clip in clips}
    contents[min(contents)] = b"RIFF"
    archive = get_year(2025).archive("dev", "fan")
    Path(archive.file).write_bytes(zipped(contents))
    install_machine(Path(archive.file), tmp_path / "again/dev_data/raw/fan", "dev", archive, None)
    answer = check("data=again")
    assert answer.code == 1
    assert f"damaged  1 of {len(clips)} recordings cannot be used" in answer.out
    assert "present" in succeeds("data-check", "year=2025", *FAN, "data=again", "quick=true").out
