"""File names of all years, folder layouts, attributes CSVs, and every complaint about them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.challenge.files import attribute_gaps, has_challenge_names, list_clips, list_machines
from asd.challenge.names import CONDITION, format_name, parse_name
from asd.types import AsdError, Clip, Domain, Label, Split
from tests.made_submission import name_of_2020

TRAIN = "section_00_source_train_normal_0000_vel_4.wav"


def make(root: Path, *files: str) -> Path:
    """Empty files at these paths below `root`."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def write_attributes(root: Path, machine: str, rows: Iterable[str], section: str = "00") -> None:
    text = "\n".join(["file_name,d1p,d1v,d2p,d2v", *rows])
    (root / machine / f"attributes_{section}.csv").write_text(text + "\n")


NAMES = [  # path below the data folder; section, domain and label; attributes
    ("fan/train/normal_id_00_00000000.wav", "00 - normal", {}),
    ("fan/test/anomaly_id_06_00000123.wav", "06 - anomaly", {}),
    ("fan/test/id_01_00000000.wav", "01 - -", {}),
    ("fan/source_test/section_03_source_test_0000.wav", "03 source -", {}),
    ("fan/target_test/section_03_0007.wav", "03 target -", {}),
    (
        "fan/train/section_00_source_train_normal_0025_strength_1_ambient.wav",  # 2021
        "00 source normal",
        {CONDITION: "strength_1_ambient"},
    ),
    ("ToyCar/train/section_00_source_train_normal_0000_A1Spd28V.wav", "00 source normal", {CONDITION: "A1Spd28V"}),
    (
        "valve/test/section_05_target_test_anomaly_0199_v1pat_04_v2pat_05.wav",
        "05 target anomaly",
        {"v1pat": "04", "v2pat": "05"},
    ),
    ("bandsaw/test/section_00_0005.wav", "00 - -", {}),
    ("slider/train/section_00_target_train_normal_0000_noAttribute.wav", "00 target normal", {}),
    (
        "RoboticArm/test_rename/section_00_target_anomaly_0085_weight35_BckgB.wav",
        "00 target anomaly",
        {"weight": "35", "Bckg": "B"},
    ),
    (
        "RoboticArm/train/section_00_source_trainnormal_0000weight10_BckgC.wav",
        "00 source normal",
        {"weight": "10", "Bckg": "C"},
    ),
    (
        "CoffeeGrinder/test_rename/section_00_target_test_normal_0855_mic_imp34dt05_mic_pos_B_grind_300.wav",
        "00 target normal",
        {"mic": "imp34dt05", "mic_pos": "B", "grind": "300"},
    ),
    ("bearing/supplemental/section_00_machine_source_0000_noAttribute.wav", "00 source -", {"content": "machine"}),
    ("fan/supplemental/section_00_noise_supplemental_normal_0000.wav", "00 - -", {"content": "noise"}),
    ("fan/supplemental/section_00_clean_0000_n_B.wav", "00 - -", {"n": "B", "content": "machine"}),
]
SPLITS = {"train": Split.TRAIN, "supplemental": Split.SUPPLEMENTAL}


@pytest.mark.parametrize(("name", "facts", "attributes"), NAMES)
def test_parse_name(name: str, facts: str, attributes: dict[str, str]) -> None:
    path = Path(name)
    machine, split = path.parts[0], SPLITS.get(path.parts[1], Split.TEST)
    section, domain, label = (None if fact == "-" else fact for fact in facts.split())
    assert parse_name(path, machine, split) == Clip(
        path, machine, section, split, Domain(domain) if domain else None, Label(label) if label else None, attributes
    )


KEYS = st.from_regex(r"[a-z][A-Za-z0-9-]{0,6}", fullmatch=True).filter(lambda key: key != "noAttribute")
VALUES = st.from_regex(r"[A-Za-z0-9.-]{1,6}", fullmatch=True)


@given(
    section=st.from_regex(r"[0-9]{2}", fullmatch=True).filter(str.isascii),
    number=st.integers(0, 99999),
    domain=st.sampled_from([None, *Domain]),
    label=st.sampled_from([None, *Label]),
    split=st.sampled_from([None, Split.TEST]),
    attributes=st.dictionaries(KEYS, VALUES, max_size=5),
)
def test_format_and_parse_are_inverse(
    section: str,
    number: int,
    domain: Domain | None,
    label: Label | None,
    split: Split | None,
    attributes: dict[str, str],
) -> None:
    name = format_name(section, number, split=split, domain=domain, label=label, attributes=attributes)
    clip = parse_name(Path("test", name), "fan", Split.TEST)
    assert (clip.section, clip.domain, clip.label, clip.attributes) == (section, domain, label, attributes)


@given(section=st.sampled_from(["00", "06"]), number=st.integers(0, 99999999), label=st.sampled_from([None, *Label]))
def test_names_of_machine_ids_are_understood(section: str, number: int, label: Label | None) -> None:
    clip = parse_name(Path(name_of_2020(section, number, label)), "fan", Split.TEST)
    assert (clip.section, clip.label, clip.domain) == (section, label, None)


def test_format_name_writes_the_official_spelling() -> None:
    facts = {"split": Split.TRAIN, "domain": Domain.SOURCE, "label": Label.NORMAL}
    assert format_name("00", 0, **facts, attributes={"vel": "4"}) == TRAIN
    assert format_name("00", 1, **facts, attributes={}).endswith("_normal_0001_noAttribute.wav")
    assert format_name("00", 1) == "section_00_0001.wav"


@pytest.mark.parametrize("year", range(2020, 2026))
def test_all_published_evaluation_names(golden: Path, year: int) -> None:
    machine = ""
    for line in (golden / f"ground_truth/eval_data_list_{year}.csv").read_text().splitlines():
        name, *truth = line.strip().split(",")
        if not truth:
            machine = name
            continue
        hidden = parse_name(Path(name), machine, Split.TEST)
        told = parse_name(Path(truth[0]), machine, Split.TEST)
        assert hidden.label is None
        assert (told.machine, told.section) == (hidden.machine, hidden.section)
        assert (told.label is Label.ANOMALY) == ("anomaly" in truth[0])
        assert told.domain == (None if year == 2020 else "source" if "source" in truth[0] else "target")
        assert CONDITION not in told.attributes


@pytest.mark.parametrize(("machine", "n_train", "n_test"), [("bearing", 120, 206), ("compressor", 232, 200)])
def test_real_machines(shared: Path, machine: str, n_train: int, n_test: int) -> None:
    root = shared / "data/machines"
    assert machine in list_machines(root)
    train, test = (list_clips(root, machine, split) for split in (Split.TRAIN, Split.TEST))
    assert (len(train), len(test)) == (n_train, n_test)
    assert all(clip.label is Label.NORMAL for clip in train)
    assert {clip.domain for clip in test} == {*Domain}
    assert {clip.label for clip in test} == {*Label}
    assert all({*clip.attributes} == ({"rpm"} if machine == "bearing" else set()) for clip in train + test)


def test_folders_of_2021(tmp_path: Path) -> None:
    make(
        tmp_path,
        "fan/train/section_00_source_train_normal_0000.wav",
        "fan/target_test/section_00_target_test_normal_0000.wav",
        "fan/source_test/section_00_source_test_anomaly_0000.wav",
    )
    clips = list_clips(tmp_path, "fan", Split.TEST)
    assert [clip.domain for clip in clips] == [Domain.SOURCE, Domain.TARGET]


def test_renamed_evaluation_clips_tell_their_labels_unless_the_original_names_are_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "fan/test/section_00_0000.wav", "fan/test_rename/section_00_target_test_anomaly_0012_n_B.wav")
    (renamed,) = list_clips(tmp_path, "fan", Split.TEST)
    (original,) = list_clips(tmp_path, "fan", Split.TEST, original_names=True)
    assert (renamed.label, renamed.domain) == (Label.ANOMALY, Domain.TARGET)
    assert (original.label, original.name) == (None, "section_00_0000.wav")


def test_clips_are_sorted_and_other_files_are_no_clips(tmp_path: Path) -> None:
    make(tmp_path, *(f"fan/train/section_00_source_train_normal_{n:04d}.wav" for n in (2, 0, 1)))
    make(tmp_path, "fan/train/._section_00_source_train_normal_0000.wav", "fan/train/readme.txt")
    names = [clip.name for clip in list_clips(tmp_path, "fan", Split.TRAIN)]
    assert names == [f"section_00_source_train_normal_{n:04d}.wav" for n in range(3)]
    assert list_clips(tmp_path, "fan", Split.SUPPLEMENTAL) == []


def test_list_machines_is_sorted_and_skips_other_folders(tmp_path: Path) -> None:
    make(tmp_path, "valve/test/a.wav", "fan/train/a.wav", "notes/a.txt", "readme.txt")
    assert list_machines(tmp_path) == ["fan", "valve"]


@pytest.mark.parametrize(
    "row",
    [
        f"{name},vel,4,load,7"
        for name in (
            f"fan/train/{TRAIN}",
            TRAIN,
            Path(TRAIN).stem,
            f"{Path(TRAIN).stem}.WAV",
            rf"fan\train\{TRAIN}",
            f" ./fan/train/{TRAIN} ",
        )
    ],
)
def test_attributes_csv_wins_over_the_name(tmp_path: Path, row: str) -> None:
    make(tmp_path, f"fan/train/{TRAIN}")
    write_attributes(tmp_path, "fan", [row])
    (clip,) = list_clips(tmp_path, "fan", Split.TRAIN)
    assert clip.attributes == {"vel": "4", "load": "7"}


@pytest.mark.parametrize("row", [f"{TRAIN},noAttribute,,,", f"{TRAIN},,,,", TRAIN])
def test_attributes_hidden_in_the_csv(tmp_path: Path, row: str) -> None:
    make(tmp_path, f"fan/train/{TRAIN}")
    write_attributes(tmp_path, "fan", [row])
    assert list_clips(tmp_path, "fan", Split.TRAIN)[0].attributes == {}


def test_attributes_from_the_name_where_the_csv_is_missing_or_silent(tmp_path: Path) -> None:
    make(tmp_path, f"fan/train/{TRAIN}")
    assert list_clips(tmp_path, "fan", Split.TRAIN)[0].attributes == {"vel": "4"}
    write_attributes(tmp_path, "fan", ["fan/train/section_00_source_train_normal_0001_vel_4.wav,vel,4"])
    assert list_clips(tmp_path, "fan", Split.TRAIN)[0].attributes == {"vel": "4"}


def test_supplemental_content_survives_the_csv(tmp_path: Path) -> None:
    make(tmp_path, "fan/train/x.wav", "fan/supplemental/section_00_noise_0000.wav")
    write_attributes(tmp_path, "fan", ["section_00_noise_0000.wav,n,B"])
    assert list_clips(tmp_path, "fan", Split.SUPPLEMENTAL)[0].attributes == {"n": "B", "content": "noise"}


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([f"{TRAIN},vel,5"], r"vel_4\.wav says vel='4' by its name and '5' in .*attributes_00\.csv"),
        ([f"{TRAIN},vel,4", f"fan/train/{TRAIN},vel,4"], r"attributes_00\.csv lists .* twice \(line 3\)"),
        ([f"{TRAIN},vel,4", rf"fan\{Path(TRAIN).stem}.WAV,vel,4"], r"lists .* twice \(line 3\)"),
        ([f"{TRAIN},load,4,load,7"], r"line 2, says both load=4 and load=7: keep one"),
        ([f"{TRAIN},vel,4,,7"], r"line 2, has the value '7' without a name before it"),
        (
            [f'{TRAIN},vel,"4', "other.wav,vel,5"],
            r"attributes_00\.csv is not a readable .*: correct its quotation marks",
        ),
        ([f"{TRAIN},vel,{'4' * 200_000}"], r"attributes_00\.csv is not a readable CSV file \(field larger"),
    ],
)
def test_bad_attributes(tmp_path: Path, rows: list[str], complaint: str) -> None:
    make(tmp_path, f"fan/train/{TRAIN}")
    write_attributes(tmp_path, "fan", rows)
    with pytest.raises(AsdError, match=complaint):
        list_clips(tmp_path, "fan", Split.TRAIN)


def test_a_cell_left_empty_is_not_known(tmp_path: Path) -> None:
    make(tmp_path, f"fan/train/{TRAIN}")
    write_attributes(tmp_path, "fan", [f"{TRAIN},vel,,load,7", ",,,,", ""])
    assert list_clips(tmp_path, "fan", Split.TRAIN)[0].attributes == {"load": "7"}


def test_rows_and_recordings_without_each_other_are_counted_and_named(tmp_path: Path) -> None:
    names = [TRAIN.replace("0000", f"{n:04d}") for n in range(4)]
    make(tmp_path, *(f"fan/train/{name}" for name in names), "fan/test/section_00_0000.wav")
    assert attribute_gaps(tmp_path, "fan") == []  # no table, nothing to miss
    write_attributes(tmp_path, "fan", [rf"fan\train\{name}" for name in names])
    assert attribute_gaps(tmp_path, "fan") == []  # nobody lists the clips of an evaluation set
    write_attributes(tmp_path, "fan", [names[0], names[1].upper(), "section_00_9999.wav"])
    rows, clips = attribute_gaps(tmp_path, "fan")
    assert "rows for recordings that are not there: 2 (the first SECTION_00" in rows
    assert f"no row for some recordings of train/: 3 (the first {names[1]})" in clips
    make(tmp_path, "fan/test/section_00_9999.wav")
    assert "no row for some recordings of test/: 1 (section_00_0000.wav)" in attribute_gaps(tmp_path, "fan")[-1]


def test_what_of_a_machine_is_not_read_is_named(tmp_path: Path) -> None:
    make(tmp_path, f"fan/train/{TRAIN}", f"fan/train/day 2/{TRAIN}", "fan/test/old/section_00_0000.wav")
    write_attributes(tmp_path, "fan", [f"{TRAIN},vel,4"])
    table = tmp_path / "fan/attributes_00.csv"
    for name in ("attributes.csv", "Attributes-00.CSV"):
        table = table.rename(table.with_name(name))
        train, test, other = attribute_gaps(tmp_path, "fan")
        assert "fan/train holds recordings in folders below, which are not read: 1 (" in train
        assert "fan/test holds recordings in folders below" in test
        assert other == f"{table} is not read: tables of attributes are called attributes_00.csv"
    table.rename(table.with_name("Attributes_00.CSV"))
    assert list_clips(tmp_path, "fan", Split.TRAIN)[0].attributes == {"vel": "4"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
def test_attributes_are_read_as_spreadsheets_write_them(tmp_path: Path, encoding: str) -> None:
    """Two letters that are no UTF-8 must not become one, nor two spellings of a number two conditions."""
    names = [TRAIN.replace("0000", f"{n:04d}") for n in range(2)]
    make(tmp_path, *(f"fan/train/{name}" for name in names))
    write_attributes(
        tmp_path, "fan", [f"{names[0]},Öl,ä,vel,4.0,load,-1.0,width,1.50", f"{names[1]},Öl,ö,vel,4,load,-1"]
    )
    table = tmp_path / "fan/attributes_00.csv"
    table.write_bytes(table.read_text("utf-8").encode(encoding))
    first, second = (clip.attributes for clip in list_clips(tmp_path, "fan", Split.TRAIN))
    assert first == {"Öl": "ä", "vel": "4", "load": "-1", "width": "1.50"}
    assert second == {"Öl": "ö", "vel": "4", "load": "-1"}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_the_accents_of_a_machine_may_be_written_apart(tmp_path: Path, form: Literal["NFC", "NFD"]) -> None:
    name = unicodedata.normalize("NFC", "Lüfter")
    make(tmp_path, f"{unicodedata.normalize(form, name)}/train/{TRAIN}")
    assert list_machines(tmp_path) == [name]
    for asked in ("NFC", "NFD"):
        (clip,) = list_clips(tmp_path, unicodedata.normalize(asked, name), Split.TRAIN)
        assert clip.path.exists()
    make(tmp_path, *(f"{unicodedata.normalize(one, name)}/train/{TRAIN}" for one in ("NFC", "NFD")))
    with pytest.raises(AsdError, match="are one name in two spellings: rename one"):
        list_machines(tmp_path)


@pytest.mark.parametrize("content", [b"name,speed\nx,1\n", b"", b"\xff\xfe\x00rubbish"])
def test_a_csv_of_another_kind(tmp_path: Path, content: bytes) -> None:
    make(tmp_path, f"fan/train/{TRAIN}")
    (tmp_path / "fan/attributes_00.csv").write_bytes(content)
    with pytest.raises(AsdError, match=r"attributes_00\.csv.*file_name,d1p,d1v"):
        list_clips(tmp_path, "fan", Split.TRAIN)


@pytest.mark.parametrize(
    ("files", "machine", "split", "complaint"),
    [
        (f"fan/train/{TRAIN}", "fann", Split.TRAIN, r"'fann'.*did you mean fan\?.*holds fan"),
        (f"ToyCar/train/{TRAIN}", "toycar", Split.TRAIN, r"did you mean ToyCar\?"),
        (f"fan/train/{TRAIN}", "xylophone", Split.TRAIN, r"'xylophone' is not under .*: It holds fan"),
        ("fan/test/section_00_0000.wav", "fan", Split.TRAIN, r"no train clips.*fan/train"),
        (f"fan/train/{TRAIN}", "fan", Split.TEST, r"no test clips.*fan/test"),
        ("fan/train/hello.wav", "fan", Split.TRAIN, r"hello\.wav is outside.*section_00_source_train"),
        ("fan/train/section_0_0000.wav", "fan", Split.TRAIN, r"outside the file-name grammar"),
        (f"fan/train/{TRAIN} ", "fan", Split.TRAIN, r"\.wav  is outside the file-name grammar"),
        ("fan/train/section_00_source_train_anomaly_0000.wav", "fan", Split.TRAIN, r"is an anomaly in train"),
        ("fan/train/anomaly_id_00_00000000.wav", "fan", Split.TRAIN, r"is an anomaly in training data"),
        ("fan/train/section_00_source_test_normal_0000.wav", "fan", Split.TRAIN, r"is a test clip .* in train"),
        ("fan/source_test/section_00_target_test_normal_0000.wav", "fan", Split.TEST, r"lies in source_test"),
        ("fan/test/section_00_0000.wav fan/source_test/section_00_0000.wav", "fan", Split.TEST, r"same name as"),
        ("fan/train/section_00_0000.wav fan/train/section_00_0000.WAV", "fan", Split.TRAIN, r"same name as"),
    ],
)
def test_bad_folders(tmp_path: Path, files: str, machine: str, split: Split, complaint: str) -> None:
    make(tmp_path, *files.split(" fan/")[:1], *(f"fan/{file}" for file in files.split(" fan/")[1:]))
    with pytest.raises(AsdError, match=complaint):
        list_clips(tmp_path, machine, split)


def test_missing_or_empty_data_folder_says_where_it_looked(tmp_path: Path) -> None:
    make(tmp_path, "alone.wav")
    with pytest.raises(AsdError, match=r"no data folder .*alone\.wav, which is a file and no table of .*\.csv"):
        list_machines(tmp_path / "alone.wav")
    with pytest.raises(AsdError, match=rf"no data folder {tmp_path}/nowhere: .*data=DIR"):
        list_clips(tmp_path / "nowhere", "fan", Split.TRAIN)
    with pytest.raises(AsdError, match=rf"{tmp_path} holds no machine"):
        list_machines(tmp_path)
    make(tmp_path, f"dev_data_fan/fan/train/{TRAIN}")  # as archives are unpacked, each into a folder of its own
    with pytest.raises(AsdError, match=rf"for the machine fan, say data={tmp_path}/dev_data_fan machine=fan, or put"):
        list_machines(tmp_path)


@pytest.mark.parametrize(
    ("file", "has"),
    [
        (f"fan/train/{TRAIN}", True),
        ("fan/test/section_00_0000.wav", True),
        ("fan/train/normal_id_00_00000000.wav", True),
        (f"fan/{TRAIN}", False),
        (f"{TRAIN}", False),
        (f"fan/others/{TRAIN}", False),
        ("fan/train/a.wav", False),
    ],
)
def test_a_data_folder_is_known_by_a_name_of_the_challenge(tmp_path: Path, file: str, has: bool) -> None:
    make(tmp_path, "pump/train/b.wav", file, "notes.txt")
    assert has_challenge_names(tmp_path) is has
    assert not has_challenge_names(tmp_path / "nowhere")
