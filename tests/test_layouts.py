"""Layouts: what folders and names tell of recordings, in trees as they should be and in odd ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from asd.data.dataset import HELD_OUT, LAYOUTS, OwnData, given_data, open_data
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
    with pytest.raises(AsdError, match=r"fan/notes\.wav lies in no folder <type>/id_<NN>/normal or abnormal"):
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
    ],
)
def test_a_table_that_means_nothing_or_two_things_is_refused(tmp_path: Path, text: str, saying: str) -> None:
    touch(tmp_path, "a.wav")
    (tmp_path / "recordings.csv").write_text(text)
    with pytest.raises(AsdError, match=saying):
        open_data(tmp_path)


def test_rows_may_end_early_and_a_column_without_a_name_only_counts_them(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    (tmp_path / "recordings.csv").write_text(",path,file,label,speed\n0,a.wav,x,normal,5\n1,b.wav,y,normal\n")
    ((one, other),) = opened(tmp_path).by_machine.values()
    assert (one.attributes, other.attributes) == ({"speed": "5"}, {})


def test_a_table_without_a_normal_recording_says_what_to_write(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    (tmp_path / "recordings.csv").write_text("path\na.wav\n")
    data = opened(tmp_path)
    with pytest.raises(AsdError, match=r"has no normal recordings in .*; write normal into the column label"):
        data.clips(data.machines()[0], Split.TRAIN)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_table_as_spreadsheets_write_it(tmp_path: Path, encoding: str) -> None:
    touch(tmp_path, "Prüfstand/früh – 1.wav")
    text = "Path;Label\r\nPrüfstand\\früh – 1.wav;normal\r\n"
    (tmp_path / "liste.csv").write_text(text, encoding=encoding)
    ((clip,),) = opened(tmp_path / "liste.csv").by_machine.values()
    assert clip.path == tmp_path / "Prüfstand/früh – 1.wav"


def test_a_fault_is_one_in_training_too_and_new_alone_names_none(tmp_path: Path) -> None:
    touch(tmp_path / "a", "pump/train/monday/1.wav", "pump/test/leak/1.wav")
    assert told(every(opened(tmp_path / "a"))["pump/train/monday/1.wav"]) == ("pump", "train", "normal")
    touch(tmp_path / "a", "pump/train/leak/2.wav")
    with pytest.raises(AsdError, match=r"pump/train/leak/2\.wav lies in training data and in a folder of anom"):
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
    "name", ["fan/Train/section_00_source_train_normal_0001.wav", "fan/train/normal_id_00_00000001.flac"]
)
def test_names_of_the_challenge_in_another_layout_are_not_read_and_said(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    opened(touch(tmp_path, name))
    assert f"{tmp_path / name} is named as in the challenge, and does not lie as there" in caplog.text


@pytest.mark.parametrize(
    ("names", "saying"),
    [
        (["pump/normal/a.wav", "pump/b.wav"], r"pump/b\.wav lies in no folder that says whether it is normal"),
        (["pump/normal/a.wav", "b.wav"], r"b\.wav lies in no folder that says whether it is normal"),
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
            ["pump/normal/a.wav", "pump/not ok/b.wav"],
            "not ok/, which may be a fault or not; put it .* abnormal/not ok/",
        ),
        (["train/pump/normal/a.wav", "test/pump/bad/b.wav"], r"anomalies, pump; .* put that folder above train/"),
        (["normal/pump/a.wav", "abnormal/pump/b.wav"], r"anomalies, pump; .* put that folder above train/"),
        (["a.wav", "b.wav"], "no folder or name in it says which are normal"),
        (["pump/a.wav", "fan/b.flac"], "no folder or name in it says which are normal"),
        (["notes.txt"], "holds no machine"),
        ([], "holds no machine"),
    ],
)
def test_odd_trees_are_a_sentence(tmp_path: Path, names: list[str], saying: str) -> None:
    with pytest.raises(AsdError, match=saying):
        open_data(touch(tmp_path, *names)).machines()


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
    unlabelled = opened(touch(tmp_path, "pump/new/y.wav"))
    assert all(c.split is Split.TRAIN for n, c in every(unlabelled).items() if "normal" in n)
    assert unlabelled.n_held_out == {"pump": 0}


def test_normal_recordings_by_name(tmp_path: Path) -> None:
    touch(tmp_path / "my recordings", *(f"pump 3/{i}.wav" for i in range(10)), "leak/1.wav")
    data = given_data(str(tmp_path / "my recordings/pump 3"), str(tmp_path / "my recordings/leak/*"), ["pump3"])
    assert data.machines() == ["pump3"]
    counts = Counter(told(clip) for clip in data.by_machine["pump3"])
    assert counts == {("pump3", "train", "normal"): 8, ("pump3", "test", "normal"): 2, ("pump3", "test", "anomaly"): 1}
    assert given_data(str(tmp_path / "my recordings/pump 3/*.wav"), None, ["all"]).machines() == ["pump 3"]


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
