"""Layouts: what folders and names tell of recordings, in trees as they should be and in odd ones."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asd
from asd.data.dataset import HELD_OUT, LAYOUTS, OwnData, open_data
from asd.data.given import clips_of_files, given_data
from asd.data.layouts import plain
from asd.settings.config import LayoutName, Run
from asd.types import AsdError, Clip, Label, Split
from tests.machines import tone_machine
from tests.trees import FAULTY, NORMAL, write_tree


def touch(root: Path, *names: str) -> Path:
    """Empty files: a layout looks at names only."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def opened(root: Path, layout: str = "auto", *machines: str) -> OwnData:
    found = open_data(root, layout, machines or ("all",))
    assert isinstance(found, OwnData)
    return found


def every(data: OwnData) -> dict[str, Clip]:
    """All clips by their path from the data folder."""
    return {str(clip.path.relative_to(data.root)): clip for clips in data.by_machine.values() for clip in clips}


def told(clip: Clip) -> tuple[str, str, str | None]:
    return clip.machine, clip.split.value, clip.label and clip.label.value


def test_the_option_names_every_layout() -> None:
    from typing import get_args

    assert get_args(LayoutName) == LAYOUTS
    assert Run().layout == "auto"


@pytest.mark.parametrize("layout", NORMAL)
def test_a_layout_is_detected_said_and_can_be_named(tmp_path: Path, layout: str) -> None:
    root = write_tree(tmp_path, layout)
    data = opened(root)
    (machine,) = data.machines()
    assert data.layout == layout
    assert every(opened(root, layout)) == every(data)
    counts = Counter((clip.split, clip.label) for clip in data.by_machine[machine])
    n_held = round(HELD_OUT * 15)
    assert counts == {
        (Split.TRAIN, Label.NORMAL): 15 - n_held,
        (Split.TEST, Label.NORMAL): n_held,
        (Split.TEST, Label.ANOMALY): 3,
    }
    assert data.notices(machine)[0].startswith(f"layout {layout}: ")
    assert f"{n_held} of 15 normal recordings (drawn by their names) are held out" in data.notices(machine)[1]
    for clip in data.by_machine[machine]:
        assert clip.path.name in clip.name  # the name it was given, and the date in it


def test_the_challenge_stays_as_it_is(tmp_path: Path) -> None:
    root = tone_machine(tmp_path, n_train=4, n_test=1)
    data = open_data(root)
    assert (data.layout, data.is_strict, data.machines()) == ("challenge", True, ["fan"])
    (root / "fan/train/other.wav").touch()
    with pytest.raises(AsdError, match=r"other\.wav is outside the file-name grammar"):
        open_data(root).clips("fan", Split.TRAIN)
    inside = open_data(root / "fan")  # a folder too deep: its names are still the challenge's
    with pytest.raises(AsdError, match="holds no machine: expected <machine>/train"):
        inside.machines()
    with pytest.raises(AsdError, match="layout=mimii does not fit"):
        open_data(root, "mimii")
    with pytest.raises(AsdError, match="layout=mimi is unknown; there are auto, challenge"):
        open_data(root, "mimi")


def test_recordings_beside_machines_of_the_challenge_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = touch(tone_machine(tmp_path, n_train=4, n_test=1), "notes/a.txt", ".hidden/b.wav")
    assert open_data(root).layout == "challenge"
    assert caplog.messages == []
    open_data(touch(root, "pump/normal/a.wav"))
    assert "where a machine has train/ and test/, and without the recordings in pump; put those" in caplog.text


def test_plain_folders(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        *("pump/normal/a.wav", "pump/Normal/b.flac", "pump/abnormal/a.wav", "pump/bearing wear/c.wav"),
        *("hall/fan/ok/2026-03/a.wav", "hall/fan/NG/belt/b.wav", "hall/fan/new/c.wav"),
        *("mill/train/a.wav", "mill/test/normal/b.wav", "mill/test/anomaly/c.wav", "mill/test/2026-03-01/d.wav"),
        *("mill/test/e.wav", "mill/test/chipped/target/f.wav", "mill/notes.txt", "mill/.hidden/g.wav"),
    )
    found = {name: told(clip) for name, clip in every(opened(root)).items()}
    assert found == {
        "pump/normal/a.wav": ("pump", "train", "normal"),
        "pump/Normal/b.flac": ("pump", "train", "normal"),
        "pump/abnormal/a.wav": ("pump", "test", "anomaly"),
        "pump/bearing wear/c.wav": ("pump", "test", "anomaly"),
        "hall/fan/ok/2026-03/a.wav": ("fan", "train", "normal"),
        "hall/fan/NG/belt/b.wav": ("fan", "test", "anomaly"),
        "hall/fan/new/c.wav": ("fan", "test", None),
        "mill/train/a.wav": ("mill", "train", "normal"),
        "mill/test/normal/b.wav": ("mill", "test", "normal"),
        "mill/test/anomaly/c.wav": ("mill", "test", "anomaly"),
        "mill/test/2026-03-01/d.wav": ("mill", "test", None),
        "mill/test/e.wav": ("mill", "test", None),
        "mill/test/chipped/target/f.wav": ("mill", "test", "anomaly"),
    }
    clips = every(opened(root))
    assert clips["pump/bearing wear/c.wav"].attributes == {"fault": "bearing wear"}
    assert clips["hall/fan/NG/belt/b.wav"].attributes == {"fault": "belt"}
    assert clips["mill/test/chipped/target/f.wav"].domain == "target"
    assert clips["pump/abnormal/a.wav"].name == "abnormal/a.wav"  # as normal/a.wav is there, too
    assert clips["pump/bearing wear/c.wav"].name == "c.wav"
    assert "faults bearing wear" in opened(root).notices("pump")[0]


def test_the_folder_of_one_machine_takes_the_name_that_is_given(tmp_path: Path) -> None:
    root = touch(tmp_path / "my pump", "normal/a.wav", "abnormal/b.wav")
    assert opened(root).machines() == ["my pump"]
    assert opened(root, "auto", "pump3").machines() == ["pump3"]


def test_machines_of_the_same_name_in_two_halls(tmp_path: Path) -> None:
    root = touch(tmp_path, "hall 1/fan/normal/a.wav", "hall 2/fan/normal/a.wav", "hall 2/pump/good/b.wav")
    assert opened(root).machines() == ["hall 1_fan", "hall 2_fan", "pump"]
    assert opened(touch(tmp_path / "b", "pump/1/ok/a.wav", "pump/2/ok/a.wav", "3/ok/a.wav")).machines() == [
        *("3", "pump_1", "pump_2")
    ]


def test_eight_ids_of_mimii_are_sections(tmp_path: Path) -> None:
    names = [
        f"fan/id_{i:02d}/{label}/{n:08d}.wav" for i in (0, 6) for label in ("normal", "abnormal") for n in range(10)
    ]
    data = opened(touch(tmp_path, *names))
    clips = data.by_machine["fan"]
    assert {clip.section for clip in clips} == {"00", "06"}
    assert len({clip.name for clip in clips}) == len(names)
    held = Counter(clip.section for clip in clips if clip.split is Split.TEST and clip.label is Label.NORMAL)
    assert held == {"00": 2, "06": 2}
    (tmp_path / "fan/notes.wav").touch()
    with pytest.raises(AsdError, match=r"fan/notes\.wav lies in no folder that says whether it is normal"):
        open_data(tmp_path)


def test_the_first_microphone_of_toyadmos(tmp_path: Path) -> None:
    first = [f"case2/{n}_ToyTrain_case2_{kind}_ch{c}_{n}.wav" for kind in ("normal_IND", "ab07_IND", "normal_CNT")
             for c in (1, 2) for n in range(1001, 1006)]  # fmt: skip
    second = [f"car/C{what}001-carA1-speed3{fault}_mic{c}_{n:05d}.mp4"
              for what, fault in (("N", ""), ("A", "-b-damageH")) for c in (2, 4) for n in range(5)]  # fmt: skip
    data = opened(touch(tmp_path / "one", *first))
    (machine,) = data.machines()
    assert machine == "ToyTrain"
    assert all("_ch1_" in clip.name and "_IND_" in clip.name for clip in data.by_machine[machine])
    assert len(data.by_machine[machine]) == 10
    assert {clip.section for clip in data.by_machine[machine]} == {"02"}
    clips = opened(touch(tmp_path / "two", *second)).by_machine["ToyCar"]
    assert Counter(clip.label for clip in clips) == {Label.NORMAL: 5, Label.ANOMALY: 5}
    faulty = next(clip for clip in clips if clip.label is Label.ANOMALY)
    assert faulty.attributes == {"model": "A1", "speed": "3", "fault": "b", "damage": "H"}


def test_what_toyadmos_leaves_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "asd")
    names = [f"case1/{n}_ToyCar_case1_normal_IND_ch{c}_{n:04d}.wav" for n in range(5) for c in (1, 2)]
    opened(touch(tmp_path, *names))
    assert f"{tmp_path}: recordings are left out: 5 of other microphones or kinds" in caplog.messages
    opened(touch(tmp_path, "pump/normal/a.wav"))
    assert "kinds, 1 that are not named as in ToyADMOS, such as" in caplog.text
    assert caplog.messages[-1].endswith("pump/normal/a.wav")


def test_a_table_beside_or_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "in/b.wav", "in/c.wav", "in/d.flac", "elsewhere.wav")
    rows = [
        "path,split,label,machine,speed",
        "a.wav,train,normal,fan,5",
        "in/b.wav,,good,fan,",
        "in/c.wav,test,ng,fan,7",
    ]
    (tmp_path / "recordings.csv").write_text("\n".join([*rows, "in/d.flac,test,,pump,", "in/b.wav,test,normal,pump,"]))
    for place in (tmp_path, tmp_path / "recordings.csv"):
        data = opened(place)
        assert (data.layout, data.machines()) == ("table", ["fan", "pump"])
        assert [told(clip)[1:] for clip in data.by_machine["fan"]] == [
            ("train", "normal"), ("train", "normal"), ("test", "anomaly")
        ]  # fmt: skip
        assert data.by_machine["fan"][0].attributes == {"speed": "5"}
    (tmp_path / "recordings.csv").write_text("path\na.wav\na.wav\n")
    with pytest.raises(AsdError, match=r"a\.wav is named twice in .*recordings.csv|a\.wav is named twice"):
        open_data(tmp_path)
    (tmp_path / "recordings.tsv").write_text("path\na.wav\n")
    with pytest.raises(AsdError, match=r"recordings\.csv and recordings\.tsv"):
        open_data(tmp_path)


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ("path,label\na.wav,normal,x\n", "is not a readable table .*fields.*; correct or remove it"),
        ("path,Label,label\na.wav,normal,\n", "has the column label twice"),
        ("path,label,label\na.wav,normal,\n", "has the column label twice"),
        ("path,machine\na.wav,hall/fan\n", r"row 2 has the machine 'hall/fan'; write a name without slashes"),
        ("path,machine\na.wav,..\n", r"row 2 has the machine '\.\.'"),
        ("", "is not a readable table .*; correct or remove it"),
        ("path,speed\na.wav,5\n\n\nb.wav,6\n", r"row 5 names b\.wav, and there is no file"),  # as a spreadsheet counts
        (f"path,label\n{'x' * 5000}.wav,normal\n", r"row 2 names x+\.wav, and there is no file"),
        ("path,split\na faulty one.wav,train\n", "row 2 would be learnt .* column path says 'a faulty one'"),
        ("path,split,label\na.wav,train,NOK\n", r"a\.wav is an anomaly, and its split in .* is train; .* write test"),
        ("path,split,Labels\na.wav,train,Anomaly\n", r"row 2 would be learnt .* column labels says 'Anomaly'; call"),
    ],
)
def test_a_table_that_means_nothing_or_two_things_is_refused(tmp_path: Path, text: str, saying: str) -> None:
    touch(tmp_path, "a.wav", "a faulty one.wav")
    (tmp_path / "recordings.csv").write_text(text)
    with pytest.raises(AsdError, match=saying):
        open_data(tmp_path)


def test_rows_may_end_early_and_a_column_without_a_name_only_counts_them(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    (tmp_path / "recordings.csv").write_text(",path,file,label,speed\n0,a.wav,x,normal,5\n1,b.wav,y,normal\n")
    ((one, other),) = opened(tmp_path).by_machine.values()
    assert (one.attributes, other.attributes) == ({"speed": "5"}, {})


def test_a_table_that_is_not_there_or_holds_all_for_the_check_says_so(tmp_path: Path) -> None:
    with pytest.raises(AsdError, match=r"gone\.csv does not exist; name a table"):
        opened(tmp_path / "gone.csv")
    touch(tmp_path, "a.wav", "b.wav")
    (tmp_path / "recordings.csv").write_text("path,split,label\na.wav,test,normal\nb.wav,test,anomaly\n")
    data = opened(tmp_path)
    with pytest.raises(AsdError, match=r"has no train recordings in .*; write train into the column split"):
        data.clips(data.machines()[0], Split.TRAIN)


def test_a_table_without_a_normal_recording_says_what_to_write(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    (tmp_path / "recordings.csv").write_text("path\na.wav\n")
    data = opened(tmp_path)
    with pytest.raises(AsdError, match=r"has no normal recordings in .*; write normal into the column label"):
        data.clips(data.machines()[0], Split.TRAIN)


def test_rows_to_learn_from_count_without_a_label(tmp_path: Path) -> None:
    names = [f"{i}.wav" for i in range(10)]
    touch(tmp_path, *names)
    (tmp_path / "recordings.csv").write_text("\n".join(["path,split", *(f"{name},train" for name in names)]))
    data = opened(tmp_path)
    assert "2 of 10 normal recordings (drawn by their names) are held out" in data.notices(data.machines()[0])[1]


def test_labels_of_german_inspection_sheets(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    (tmp_path / "t.csv").write_text("path;label\na.wav;i.O.\nb.wav;n.i.O.\n")
    labels = [clip.label for clip in clips_of_files(tmp_path / "t.csv", "pump", Split.TEST)]
    assert labels == [Label.NORMAL, Label.ANOMALY]


@pytest.mark.parametrize("first", ["", "sep=;\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_table_as_spreadsheets_write_it(tmp_path: Path, encoding: str, first: str) -> None:
    touch(tmp_path, "Prüfstand/früh – 1.wav")
    text = f"{first}Path;Label\r\nPrüfstand\\früh – 1.wav;normal\r\n"
    (tmp_path / "liste.csv").write_text(text, encoding=encoding)
    ((clip,),) = opened(tmp_path / "liste.csv").by_machine.values()
    assert clip.path == tmp_path / "Prüfstand/früh – 1.wav"


def test_a_table_as_pandas_writes_it_beside_an_empty_cell(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav", "c.wav")
    (tmp_path / "t.csv").write_text("path,label,section,speed\na.wav,0.0,0.0,900.0\nb.wav,1.0,3.0,900\nc.wav,,,\n")
    clips = clips_of_files(tmp_path / "t.csv", "fan", Split.TEST)
    assert [clip.attributes for clip in clips] == [{"speed": "900"}, {"speed": "900"}, {}]  # one condition
    assert [(clip.label, clip.section) for clip in clips] == [(Label.NORMAL, "00"), (Label.ANOMALY, "03"), (None, "00")]


@pytest.mark.parametrize(("written", "on_disk"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_in_a_table_may_be_written_in_either_form(
    tmp_path: Path, written: Literal["NFC", "NFD"], on_disk: Literal["NFC", "NFD"]
) -> None:
    name = unicodedata.normalize(on_disk, "Prüfstand/früh.wav")
    touch(tmp_path, name)
    (tmp_path / "t.csv").write_text(f"path\n{unicodedata.normalize(written, name)}\n")
    (clip,) = clips_of_files(tmp_path / "t.csv", "fan", Split.TRAIN)
    assert clip.path == tmp_path / name


def test_the_word_for_all_machines_names_none(tmp_path: Path) -> None:
    touch(tmp_path, "all/normal/1.wav", "all/normal/2.wav")
    with pytest.raises(AsdError, match="has a machine called all, which is the word for all machines; give it another"):
        opened(tmp_path)
    with pytest.raises(AsdError, match="has a machine called all"):
        given_data(str(tmp_path / "all"), None, ["all"])
    assert given_data(str(tmp_path / "all"), None, ["pump"]).machines() == ["pump"]


def test_a_fault_is_one_in_training_too_and_new_alone_names_none(tmp_path: Path) -> None:
    touch(tmp_path / "a", "pump/train/monday/1.wav", "pump/test/leak/1.wav")
    assert told(every(opened(tmp_path / "a"))["pump/train/monday/1.wav"]) == ("pump", "train", "normal")
    touch(tmp_path / "a", "pump/train/leak/2.wav")
    with pytest.raises(
        AsdError, match=r"test/leak/1\.wav lies in leak/, as normal recordings do, and nothing says what"
    ):
        opened(tmp_path / "a")
    touch(tmp_path / "b", "monday/1.wav", "new/1.wav")
    with pytest.raises(AsdError, match="no folder or name in it says which are normal"):
        opened(tmp_path / "b")


def test_links_lead_to_other_disks_and_not_round_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "disk", "a.wav", "b.wav")
    root = touch(tmp_path / "data", "pump/abnormal/c.wav")
    (root / "pump/normal").symlink_to(tmp_path / "disk")
    (root / "pump/abnormal/again").symlink_to(root)
    assert sorted(every(opened(root))) == ["pump/abnormal/c.wav", "pump/normal/a.wav", "pump/normal/b.wav"]


def test_a_blank_beside_a_name_of_a_folder_makes_no_other_word_of_it(tmp_path: Path) -> None:
    data = opened(touch(tmp_path, "pump /normal /a.wav", "pump / abnormal/b.wav"))
    assert data.machines() == ["pump"]
    assert {clip.path.name: clip.label for clip in data.by_machine["pump"]} == {
        "a.wav": Label.NORMAL,
        "b.wav": Label.ANOMALY,
    }


@pytest.mark.parametrize(
    "name", ["fan/Train/section_00_source_train_normal_0001.wav", "fan/train/good/normal_id_02_00000001.flac"]
)
def test_names_of_the_challenge_in_another_layout_are_not_read_and_said(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    opened(touch(tmp_path, name))
    assert f"{tmp_path / name} is named as in the challenge, and does not lie as there" in caplog.text


def test_names_of_2020_tell_label_and_section_where_no_folder_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["fan/normal_id_00_00000012.wav", "fan/normal_id_02_00000013.wav", "fan/anomaly_id_02_00000001.wav"]
    data = opened(touch(tmp_path, *names))
    assert {(clip.path.name[:12], clip.label, clip.section) for clip in data.by_machine["fan"]} == {
        ("normal_id_00", Label.NORMAL, "00"),
        ("normal_id_02", Label.NORMAL, "02"),
        ("anomaly_id_0", Label.ANOMALY, "02"),
    }
    assert "named as in the challenge" not in caplog.text


@pytest.mark.parametrize(
    ("names", "saying"),
    [
        (["pump/normal/a.wav", "pump/b.wav"], r"pump/b\.wav lies in no folder that says whether it is normal"),
        (["pump/normal/a.wav", "b.wav"], r"b\.wav lies in no folder that says whether it is normal"),
        (["1.wav", "2.wav", "kaputt.wav"], r"/kaputt\.wav is anomaly by its name, and nothing says what .*/1\.wav is"),
        (["pump/train/bad/a.wav"], "lies in training data and in a folder of anomalies"),
        (
            ["pump/abnormal/normal/a.wav", "pump/normal/b.wav"],
            "in a folder of normal recordings and in one of anomalies",
        ),
        (["normal/normal/a.wav", "normal/abnormal/b.wav"], "in a folder of normal recordings and in one of anomalies"),
        (
            ["pump/normal/a.wav", "pump/normal_2/b.wav"],
            "normal_2/, which may be a fault or not; put it into normal/ or",
        ),
        (
            ["pump/normal/a.wav", "pump/nearly ok/b.wav"],
            "nearly ok/, which may be a fault or not; put it .* abnormal/nearly ok/",
        ),
        (
            ["normal/pump/a.wav", "abnormal/fan/b.wav"],
            r"lies in no folder of a machine with normal recordings \(pump\)",
        ),
        (["normal/pump/a.wav", "normal/fan/a.wav", "test/fan/pump/b.wav"], r"several machines .* \(fan, pump\)"),
        (
            ["normal/a.wav", "normal/pump/b.wav", "abnormal/pump/b.wav"],
            r"a\.wav lies in no folder of a machine, .*pump",
        ),
        (["normal/a.wav", "pump/normal/b.wav"], r"a\.wav lies in no folder of a machine, as others do \(pump\)"),
        (["pump/a.wav", "pump/abnormal/b.wav"], r"pump/a\.wav lies in no folder that says whether it is normal"),
        (["pump/normal/faulty bearing/a.wav"], "faulty bearing names a fault; move it to abnormal/, or rename it"),
        (["pump_faulty/train/a.wav"], "pump_faulty names a fault; move it to abnormal/"),
        (["pump/normal/damage1_noisy.wav"], r"damage1_noisy\.wav names a fault; move it to abnormal/"),
        (["pump/normal/anomaly_001.wav"], r"anomaly_001\.wav names a fault; move it to abnormal/"),
        (["pump/normal/section_00_source_test_anomaly_0001.wav"], "anomaly_0001.wav names a fault; move it"),
        (["pump/normal/2026-03-01 bearing fault.wav"], "fault.wav names a fault; move it to abnormal/, or rename"),
        (["a.wav", "b.wav"], "no folder or name in it says which are normal"),
        (["pump/a.wav", "fan/b.flac"], "no folder or name in it says which are normal"),
        (["notes.txt"], "holds no machine"),
        ([], "holds no machine"),
    ],
)
def test_odd_trees_are_a_sentence(tmp_path: Path, names: list[str], saying: str) -> None:
    with pytest.raises(AsdError, match=saying):
        open_data(touch(tmp_path, *names)).machines()


@pytest.mark.parametrize(
    ("normal", "anomalous"),
    [
        ("pump/normal/1.wav", "pump/abnormal/leak/1.wav"),
        ("normal/pump/1.wav", "abnormal/leak/pump/1.wav"),
        ("Normal/pump/1.wav", "pump/NG/leak/1.wav"),
        ("train/pump/1.wav", "test/pump/leak/1.wav"),
        ("train/good/pump/1.wav", "test/leak/pump/1.wav"),
        ("train/hall 1/pump/OK/1.wav", "test/hall 1/pump/leak/1.wav"),
        ("data/pump/normal data/wav/1.wav", "data/pump/anomaly_data/leak/1.wav"),
        ("2026-03-01/pump/healthy/1.wav", "2026-03-02/pump/faulty/leak/1.wav"),
        ("pump/2026/03/01/good/1.wav", "pump/2026/03/02/leak/bad/1.wav"),
        ("good/pump/monday/1.wav", "leak/pump/tuesday/1.wav"),
        ("Training data/pump/0_normal/1.wav", "Testing data/pump/1_abnormal/leak/1.wav"),
        ("train/pump/normal_001.wav", "test/pump/leak/abnormal_001.wav"),
        ("pump/gut/1.wav", "pump/Defekt/leak/1.wav"),
        ("pump/run 1/normal/1.wav", "pump/run 2/abnormal/leak/1.wav"),
        ("pump/Session_01/train/1.wav", "pump/Session_02/test/leak/1.wav"),
        ("run 1/pump/normal/1.wav", "run 2/pump/leak/1.wav"),
        ("pump/iO/1.wav", "pump/niO/leak/1.wav"),
        ("pump/i.O./1.wav", "pump/n. i. O./leak/1.wav"),
        ("pump/OK/1.wav", "pump/KO/leak/1.wav"),
        ("pump/fault-free/1.wav", "pump/fault/leak/1.wav"),
        ("pump/no_defect/1.wav", "pump/fehlerhaft/leak/1.wav"),
        ("pump/undamaged/1.wav", "pump/damaged/leak/1.wav"),
        ("pump/正常/1.wav", "pump/異常/leak/1.wav"),
        ("pump/normal/1.wav", "pump/de\N{COMBINING ACUTE ACCENT}faut/leak/1.wav"),  # as macOS writes it
    ],
)
def test_trees_that_people_have(normal: str, anomalous: str) -> None:
    found = plain.clips(Path("/data"), [Path("/data", normal), Path("/data", anomalous)])
    assert found is not None
    assert [told(clip) for clip in found] == [("pump", "train", "normal"), ("pump", "test", "anomaly")]
    assert [clip.attributes for clip in found] == [{}, {"fault": "leak"}]


def test_further_folders_of_normal_recordings_are_an_attribute_and_said(tmp_path: Path) -> None:
    names = [f"normal/pump/speed_{i % 2}/{i}.wav" for i in range(4)] + ["abnormal/pump/speed_1/a.wav"]
    data = opened(touch(tmp_path, *names, "abnormal/pump/leak/speed_1/b.wav"))
    assert data.machines() == ["pump"]
    assert every(data)["abnormal/pump/speed_1/a.wav"].attributes == {"folder": "speed_1"}
    assert every(data)["abnormal/pump/leak/speed_1/b.wav"].attributes == {"fault": "leak", "folder": "speed_1"}
    assert data.notices("pump")[0].endswith("; faults leak; folders speed_0, speed_1")


def test_sections_are_told_by_folders_in_any_order() -> None:
    names = ["fan/id_02/normal/1.wav", "abnormal/id_02/fan/1.wav"]
    found = plain.mimii_clips(Path("/data"), [Path("/data", name) for name in names])
    assert found is not None
    assert [(clip.section, *told(clip)) for clip in found] == [
        ("02", "fan", "train", "normal"),
        ("02", "fan", "test", "anomaly"),
    ]


GOOD_WORDS, FAULTY_WORDS = (
    ["normal", "OK", "Good condition", "healthy", "0_normal", "no_1_normal"],
    ["abnormal", "NG", "bad", "not ok"],
)
DATES = [(), ("2026-03-01",), ("2026", "03", "01"), ("monday",)]


@st.composite
def trees(draw: st.DrawFn) -> dict[Path, tuple[str, str, str | None, str]]:
    """Paths whose folders stand in any order, each recording in its own, and what they tell: also of which fault."""
    tree = {}
    for machine in draw(st.sets(st.sampled_from(["pump", "Fan 2", "hall-7 mill"]), min_size=1)):
        kinds = [("train", "normal", ""), *draw(st.lists(st.sampled_from(KINDS), max_size=4))]
        for number, (split, label, fault) in enumerate(kinds):
            says_split = (split == "test" and label != "anomaly") or draw(st.booleans())
            says_label = split == "train" or label == "normal" or (label == "anomaly" and not fault)
            levels = [(machine,), draw(st.sampled_from(DATES)), (fault,) if fault else ()]
            levels += [
                (draw(st.sampled_from(["Train", "training"] if split == "train" else ["test", "eval"])),)
            ] * says_split
            levels += [(draw(st.sampled_from(GOOD_WORDS if label == "normal" else FAULTY_WORDS)),)] * says_label
            order = draw(st.permutations(levels))
            tree[Path("/data", *(part for level in order for part in level), f"{machine}{number}.wav")] = (
                machine, split, label or None, fault
            )  # fmt: skip
    return tree


KINDS = [
    ("train", "normal", ""),
    ("test", "normal", ""),
    ("test", "anomaly", ""),
    ("test", "anomaly", "leak"),
    ("test", "", ""),
]


@settings(max_examples=40)
@given(trees())
def test_folders_tell_the_same_in_any_order(tree: dict[Path, tuple[str, str, str | None, str]]) -> None:
    found = plain.clips(Path("/data"), list(tree))
    assert found is not None
    assert {clip.path: (*told(clip), clip.attributes.get("fault", "")) for clip in found} == tree


SOUP = [
    "normal",
    "OK",
    "abnormal",
    "NG",
    "train",
    "test",
    "pump",
    "fan",
    "leak",
    "2026",
    "03",
    "new",
    "source",
    "not ok",
]


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from([*SOUP, "normal_2", "pump_faulty", "id_02"]), max_size=4), min_size=1, max_size=6)
)
def test_whatever_the_folders_no_anomaly_is_learnt_and_no_recording_is_lost(tree: list[list[str]]) -> None:
    paths = [Path("/data", *folders, f"{i}.wav") for i, folders in enumerate(tree)]
    try:
        found = plain.clips(Path("/data"), paths)
    except AsdError:
        return
    for clip in found or []:
        if clip.split is Split.TRAIN:
            assert {"normal", "OK", "train"} & {*clip.path.parts}
            assert not {"abnormal", "NG", "not ok", "test"} & {*clip.path.parts}
    assert found is None or {clip.path for clip in found} == {*paths}


def test_nothing_to_learn_from_or_to_score_is_a_sentence(tmp_path: Path) -> None:
    data = opened(touch(tmp_path, "pump/abnormal/a.wav", "fan/normal/b.wav"))
    with pytest.raises(AsdError, match=r"pump has no normal recordings in .* add some to normal/"):
        data.clips("pump", Split.TRAIN)
    with pytest.raises(AsdError, match="fan has no test recordings"):
        data.clips("fan", Split.TEST)
    with pytest.raises(AsdError, match=r"machine='mill' is not in .*; it holds fan, pump"):
        data.clips("mill", Split.TRAIN)


def test_what_is_held_out_stays_when_a_recording_is_added(tmp_path: Path) -> None:
    names = [f"pump/normal/{i}.wav" for i in range(50)]
    before = {n for n, clip in every(opened(touch(tmp_path, *names))).items() if clip.split is Split.TEST}
    assert len(before) == 10
    after = {n for n, c in every(opened(touch(tmp_path, "pump/normal/x.wav"))).items() if c.split is Split.TEST}
    assert len(before - after) <= 1
    touch(tmp_path, "pump/unbekannt/y.wav", "pump/desconocidos/y.wav", "pump/不明/y.wav", "pump/neue Aufnahmen/y.wav")
    unlabelled = opened(touch(tmp_path, "pump/new/y.wav"))
    assert all(c.label is None for n, c in every(unlabelled).items() if "normal" not in n)
    assert all(c.split is Split.TRAIN for n, c in every(unlabelled).items() if "normal" in n)
    assert unlabelled.n_held_out == {"pump": 0}
    beside = opened(touch(tmp_path, "pump/abnormal/z.wav"))  # anomalies alone are no check
    assert after == {n for n, c in every(beside).items() if c.split is Split.TEST and n.startswith("pump/normal")}
    assert beside.n_held_out == {"pump": 10}


def test_the_way_to_recordings_of_ones_choice_is_that_of_the_layout(tmp_path: Path) -> None:
    names = [f"{i}.wav" for i in range(5)]
    rows = ["path,label", *(f"{name},normal" for name in names)]
    (touch(tmp_path, *names) / "recordings.csv").write_text("\n".join(rows))
    assert "write test into the column split of those of your choice" in opened(tmp_path).notices(tmp_path.name)[1]
    (given,) = given_data(str(tmp_path), None, ["pump"], 0.2).notices("pump")[1:]
    assert "; give data=FOLDER with normal/ and test/normal/ instead" in given
    names += [f"in/{part}/{name}" for part in ("normal", "test/normal") for name in names]
    chosen = touch(tmp_path, *names) / "in"
    assert every(opened(chosen))["test/normal/0.wav"].split is Split.TEST
    assert opened(chosen).n_held_out == {"in": 0}


def test_normal_recordings_by_name(tmp_path: Path) -> None:
    touch(tmp_path / "my recordings", *(f"pump 3/{i}.wav" for i in range(10)), "leak/1.wav")
    data = given_data(str(tmp_path / "my recordings/pump 3"), str(tmp_path / "my recordings/leak/*"), ["pump3"])
    assert (data.machines(), data.root, data.layout) == (["pump3"], tmp_path / "my recordings/pump 3", "given")
    counts = Counter(told(clip) for clip in data.by_machine["pump3"])
    assert counts == {("pump3", "train", "normal"): 8, ("pump3", "test", "normal"): 2, ("pump3", "test", "anomaly"): 1}
    assert given_data(str(tmp_path / "my recordings/pump 3/*.wav"), None, ["all"]).machines() == ["pump 3"]


@pytest.mark.parametrize(
    ("column", "normal", "faulty"),
    [
        *(("labels", "OK", "NG"), ("state", "", "anomaly"), ("is_anomaly", "0", "1"), ("fault", "none", "outer race")),
        *(("is_normal", "1", "0"), ("ok", "True", "False"), ("anomalous", "0.0", "1.0"), ("defect", "NaN", "leak")),
        *(("labels", "0", "1"), ("y_true", "0.0", "1.0"), ("Ground Truth", "False", "True"), ("class", "2", "1")),
        *(("y", "0", "1"), ("class_id", "0", "1"), ("target", "0", "1"), ("clip_label", "0", "1")),
        *(("state", "fault free", "worn, faulty bearing"), ("note", "no defects", "oil leak and broken belt")),
        *(("note", "no load, ok", "no load, fault"), ("note", "ok, fault free, new belt", "fault, no load")),
        *(("note", "free of any fault", "not ok: bearing fault"), ("note", "not damaged", "not normal, not loaded")),
        *(("Zustand", "iO, ohne Last", "nicht iO"), ("Befund", "kein Defekt", "Defekt, ohne Last")),
    ],
)
def test_no_anomaly_is_learnt_where_another_column_than_label_tells_it(
    tmp_path: Path, column: str, normal: str, faulty: str
) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    table = tmp_path / "list.csv"
    table.write_text(f"path;{column}\na.wav;{normal}\nb.wav;{normal}\n")
    assert len(given_data(str(table), None, ["pump"], 0).clips("pump", Split.TRAIN)) == 2
    table.write_text(f"path;{column}\na.wav;{normal}\nb.wav;{faulty}\n")
    with pytest.raises(AsdError, match=f"row 3 would be learnt from as normal, and its column {column.lower()} says"):
        given_data(str(table), None, ["pump"], 0)
    assert len(clips_of_files(str(table), "pump", Split.TEST)) == 2  # to be scored, they need no label


@pytest.mark.parametrize(
    ("columns", "cells"),
    [
        *(("is_target", "1"), ("mic_y", "1"), ("x;y", "0;1"), ("iso class", "1"), ("target_rpm", "1")),
        *(("note", "ok, no remarks"), ("note", "normal operation without load"), ("state", "not loaded")),
    ],
)
def test_a_column_that_is_no_label_and_a_note_on_what_is_missing_tell_no_fault(
    tmp_path: Path, columns: str, cells: str
) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    table = tmp_path / "list.csv"
    table.write_text(f"path;{columns}\na.wav;{cells}\nb.wav;{cells}\n")
    assert len(given_data(str(table), None, ["pump"], 0).clips("pump", Split.TRAIN)) == 2


def test_of_a_table_of_several_machines_one_is_learnt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, *(f"{machine}/normal/{i}.wav" for machine in ("fan", "pump") for i in range(2)))
    normal, faulty = tmp_path / "normal.csv", tmp_path / "faulty.csv"
    rows = [f"{machine}/normal/{i}.wav,{machine}" for machine in ("fan", "pump") for i in range(2)]
    normal.write_text("\n".join(["path,machine", *rows]))
    faulty.write_text("\n".join(["path,machine", *rows[1:]]))
    (learnt,) = (c for c in given_data(str(normal), None, ["fan"], 0).by_machine["fan"] if c.path.name == "1.wav")
    assert learnt.path == tmp_path / "fan/normal/1.wav"
    with pytest.raises(AsdError, match=r"1\.wav is named twice"):  # and no recording of the pump is a fault of the fan
        given_data(str(normal), str(faulty), ["fan"], 0)
    with pytest.raises(AsdError, match=r"several machines \(fan, pump\), and a model is of one; say which by machine="):
        given_data(str(normal), None, ["all"])
    with pytest.raises(AsdError, match=r"several machines \(fan, pump\)"):
        asd.fit(normal)
    normal.write_text("\n".join(["path,machine", *rows[:2]]))
    assert given_data(str(normal), None, ["all"], 0).machines() == ["fan"]
    assert len(given_data(str(tmp_path), None, ["pump"], 0).clips("pump", Split.TRAIN)) == 2
    given_data(str(tmp_path), None, ["mill"])
    assert "folders as of several machines (fan, pump), and all are learnt as one" in caplog.text


@pytest.mark.parametrize("layout", NORMAL)
def test_what_is_known_of_a_clip_is_part_of_what_was_learnt(tmp_path: Path, layout: str) -> None:
    from dataclasses import replace

    from asd.data.recordings import check

    (machine,) = (data := opened(write_tree(tmp_path, layout, 2, 1))).machines()
    recordings = check(data.by_machine[machine], sample_rate_hz=16000)
    changes = ({"label": None}, {"domain": "target"}, {"section": "09"}, {"attributes": {"speed": "1"}}, {"file": "x"})
    for change in changes:
        clips = [replace(recordings.clips[0], **change), *recordings.clips[1:]]  # type: ignore[arg-type]
        assert replace(recordings, clips=clips).fingerprint != recordings.fingerprint
    assert FAULTY[layout]
