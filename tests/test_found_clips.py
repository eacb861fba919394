"""Which clips are found, in which order, and what tables and names tell of them; beside test_files.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from asd.challenge.files import attribute_gaps, list_clips, list_machines, read_attributes
from asd.challenge.names import parse_name
from asd.places import walk_tree
from asd.types import AsdError, Domain, Split


def make(root: Path, *files: str) -> Path:
    """Empty files at these paths below `root`."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_a_hidden_folder_is_no_machine(tmp_path: Path) -> None:
    for machine in ("fan", ".trash"):
        make(tmp_path, f"{machine}/train/section_00_source_train_normal_0000.wav")
    assert list_machines(tmp_path) == ["fan"]


def test_clips_know_the_folder_s_machine_and_are_in_order_across_folders(tmp_path: Path) -> None:
    later, earlier = "section_01_source_test_normal_0000.wav", "section_00_target_test_normal_0000.wav"
    make(tmp_path, f"fan/source_test/{later}", f"fan/target_test/{earlier}")
    clips = list_clips(tmp_path, "fan", Split.TEST)
    assert [(clip.machine, clip.name) for clip in clips] == [("fan", earlier), ("fan", later)]


@pytest.mark.parametrize("domain", Domain)
def test_a_supplemental_name_may_tell_its_domain(domain: Domain) -> None:
    name = f"section_00_machine_{domain}_0000.wav"
    clip = parse_name(Path("fan/supplemental") / name, "fan", Split.SUPPLEMENTAL)
    assert clip.domain is domain


def test_a_name_that_cannot_be_shown_is_refused() -> None:
    with pytest.raises(AsdError, match=r"section_00_0000\\n\.wav' in fan/test holds characters"):
        parse_name(Path("fan/test/section_00_0000\n.wav"), "fan", Split.TEST)


def test_attribute_rows_after_a_blank_line_count_and_a_byte_order_mark_does_not(tmp_path: Path) -> None:
    path = tmp_path / "fan/attributes_00.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\ufefffile_name,d1p,d1v\n\nfan/train/a.wav,vel,4\n", encoding="utf-8")
    assert read_attributes(path.parent) == {"a": {"vel": "4"}}


def test_training_recordings_without_rows_are_named_even_where_none_has_one(tmp_path: Path) -> None:
    make(tmp_path, "fan/train/section_00_source_train_normal_0000.wav")
    (tmp_path / "fan/attributes_00.csv").write_text("file_name,d1p,d1v\ngone.wav,vel,4\n")
    assert [sentence for sentence in attribute_gaps(tmp_path, "fan") if "recordings of train/: 1" in sentence]


def test_a_link_back_into_the_tree_lists_every_file_once(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "1.wav").touch()
    (deep / "again").symlink_to(tmp_path / "a")
    assert list(walk_tree(tmp_path)) == [deep / "1.wav"]
