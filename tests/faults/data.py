"""Folders, file names and attribute tables that are not as the challenge lays them out."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

from tests.faults.fault import Done, Expected, Fault, Refused, Same, Warned

FAN = Path("data/fan")
ATTRIBUTES = FAN / "attributes_00.csv"


def a_clip(folder: str = "train") -> Path:
    return sorted((FAN / folder).glob("*normal*.wav"))[-1]


def renamed(change: Callable[[str], str], folder: str = "train") -> Callable[[], object]:
    return lambda: a_clip(folder).rename(a_clip(folder).with_name(change(a_clip(folder).name)))


def beside(name: str, content: bytes = b"x", folder: str = "train") -> Callable[[], object]:
    return lambda: (FAN / folder / name).write_bytes(content)


def linked(path: Path, to: str) -> Callable[[], object]:
    """Moves a folder away and links to it."""
    return lambda: (shutil.move(path, to), path.symlink_to(Path(to).resolve()))


def machine_named(name: str) -> Callable[[], object]:
    return lambda: FAN.rename(FAN.with_name(name))


def since(has: str) -> dict[str, Expected]:
    """Whatever reads scores says that a test clip is another one."""
    said = Warned(rf"data/fan/test/section_00_\S+ has {has} since the scores of runs/one/fan were made.*`score` makes")
    return dict.fromkeys(("evaluate", "leaderboard", "fuse", "submit"), said)


def scored_here(then: Callable[[], object]) -> Callable[[], object]:
    """What was scored in the place that this one is a copy of was scored here."""

    def plant() -> None:
        path = Path("runs/one/fan/seed0/scores/clips.json")
        content = path.read_text()
        path.write_text(content.replace(json.loads(content)["root"], str(Path("data").absolute())))
        then()

    return plant


LATER = [
    Fault("a test clip was recorded anew after it was scored", scored_here(lambda: shutil.copyfile(a_clip(), a_clip("test"))), since("changed")),
    Fault("a test clip was labelled anew after it was scored", scored_here(renamed(lambda name: name.replace("normal_0", "anomaly_9"), "test")), since("gone")),
    Fault("a test clip came after the others were scored", scored_here(lambda: shutil.copyfile(a_clip("test"), FAN / "test/section_00_source_test_normal_0099.wav")), since("come")),
    Fault("a test clip was written again as it was", scored_here(lambda: a_clip("test").write_bytes(a_clip("test").read_bytes())), {"evaluate": Same()}),
]  # fmt: skip

FOLDERS = [
    Fault("the data folder is gone", lambda: shutil.rmtree("data"), {"train": Refused("data"), "score": Refused("data")}),
    Fault("the data folder is empty", lambda: (shutil.rmtree("data"), Path("data").mkdir()), {"train": Refused("data"), "train all": Refused("holds no machine")}),
    Fault("the data folder is a file", lambda: (shutil.rmtree("data"), Path("data").write_text("x")), {"train": Refused("data"), "score": Refused("data")}),
    Fault("the data folder is a link", linked(Path("data"), "far"), {"train": Same(), "score": Same()}),
    Fault("the data folder is a link to itself", lambda: (shutil.rmtree("data"), Path("data").symlink_to("data")), {"train": Refused("data"), "score": Refused("data")}),
    Fault("a machine is a link", linked(FAN, "far"), {"train": Same(), "train all": Same(), "score": Same()}),
    Fault("a machine links to its own folder", lambda: (FAN / "again").symlink_to(FAN.resolve()), {"train": Same(), "train all": Same()}),
    Fault("the data folder links to itself from within", lambda: Path("data/data").symlink_to(Path("data").resolve()), {"train all": Same(), "score": Same()}),
    Fault("a machine is a link to nowhere", lambda: Path("data/lathe").symlink_to("gone"), {"train all": Same(), "train": Same()}),
    Fault("the training folder is gone", lambda: shutil.rmtree(FAN / "train"), {"train": Refused("no train clips"), "score": Same()}),
    Fault("the training folder is empty", lambda: (shutil.rmtree(FAN / "train"), (FAN / "train").mkdir()), {"train": Refused("no train clips"), "score": Same()}),
    Fault("the training folder is a file", lambda: (shutil.rmtree(FAN / "train"), (FAN / "train").write_text("x")), {"train": Refused("train")}),
    Fault("the training folder is a link", linked(FAN / "train", "far"), {"train": Same()}),
    Fault("the test folder is empty", lambda: (shutil.rmtree(FAN / "test"), (FAN / "test").mkdir()), {"train": Refused("no test clips"), "score": Refused("no test clips")}),
    Fault("the test folder is gone", lambda: shutil.rmtree(FAN / "test"), {"train": Done(), "train again": Warned("no test clips any more: the scores in .* stay"), "score": Refused("no test clips")}),
    Fault("a folder lies among the machines", lambda: Path("data/notes").mkdir(), {"train all": Same()}),
    Fault("a file lies among the machines", lambda: Path("data/readme.txt").write_text("x"), {"train all": Same()}),
    Fault("a hidden folder lies among the machines", lambda: shutil.copytree(FAN, "data/.trash"), {"train all": Same()}),
    Fault("a hidden twin lies beside a recording", lambda: beside("._" + a_clip().name)(), {"train": Same()}),
    Fault("a hidden twin lies beside a test recording", lambda: beside("._" + a_clip("test").name, folder="test")(), {"train": Same(), "score": Same()}),
    Fault("a text lies beside the recordings", beside("readme.txt"), {"train": Same()}),
    Fault("a thumbnail lies beside the recordings", beside("Thumbs.db"), {"train": Same()}),
    Fault("a half-fetched recording lies beside the others", beside("section_00_source_train_normal_0009_x.wav.part"), {"train": Same()}),
    Fault("a recording lies in a folder of its own", lambda: ((FAN / "train/more").mkdir(), a_clip().rename(FAN / "train/more/x.wav")), {"train": Warned("train holds recordings in folders below")}),
    Fault("a name ends in capitals", renamed(lambda name: name.replace(".wav", ".WAV")), {"train": Done()}),
    Fault("a name is outside the grammar", renamed(lambda name: "fan_0001.wav"), {"train": Refused("fan_0001")}),
    Fault("a name has a section that is a word", renamed(lambda name: name.replace("section_00", "section_one")), {"train": Refused("section_one")}),
    Fault("a name has an unknown domain", renamed(lambda name: name.replace("target", "elsewhere")), {"train": Refused("elsewhere")}),
    Fault("a name has an unknown label", renamed(lambda name: name.replace("normal", "usual")), {"train": Refused("usual")}),
    Fault("a name ends in a space", renamed(lambda name: name.replace(".wav", ".wav ")), {"train": Refused("grammar")}),
    Fault("a name holds a line break", renamed(lambda name: name.replace("_speed", "\n_speed")), {"train": Refused(r"speed.*rename it")}),
    Fault("a name is 255 bytes long", renamed(lambda name: name.replace(".wav", "_" + "x" * (250 - len(name)) + ".wav")), {"train": Done()}),
    Fault("a name is not Unicode", lambda: a_clip().rename(a_clip().parent / b"section_00_source_train_normal_0009_\xff.wav".decode("utf-8", "surrogateescape")), {"train": Refused(r"udcff.*rename it")}),
    Fault("a training clip is labelled anomaly", renamed(lambda name: name.replace("normal", "anomaly")), {"train": Refused("anomaly in training data")}),
    Fault("a test clip lies among the training clips", renamed(lambda name: name.replace("_train_", "_test_")), {"train": Refused("test")}),
    Fault("a recording is there twice", lambda: shutil.copy(a_clip(), a_clip().with_name(a_clip().name.replace("0002", "0009"))), {"train": Warned(r"1 of \d+ training clips are copies of others")}),
    Fault("a machine has a space in its name", machine_named("my fan"), {"train all": Done()}),
    Fault("a machine has a decomposed name", machine_named(unicodedata.normalize("NFD", "Lüfter")), {"train all": Done()}),
    Fault("a machine has a comma in its name", machine_named("fan,pump"), {"train all": Done()}),
    Fault("a machine begins with a dash", machine_named("-fan"), {"train all": Done()}),
    Fault("a section of a test clip was never trained on", renamed(lambda name: name.replace("section_00", "section_07"), "test"), {"train": Warned("07"), "score": Warned("07")}),
]  # fmt: skip


def table(change: Callable[[list[str]], list[str]]) -> Callable[[], object]:
    return lambda: ATTRIBUTES.write_text("\n".join(change(ATTRIBUTES.read_text().splitlines())) + "\n")


def written(content: bytes) -> Callable[[], object]:
    return lambda: ATTRIBUTES.write_bytes(content)


def text(change: Callable[[str], str]) -> Callable[[], object]:
    return table(lambda lines: [lines[0], *map(change, lines[1:])])


READ = "attributes_00"
TABLES: dict[str, tuple[Callable[[], object], Expected]] = {
    "is empty": (written(b""), Refused(READ)),
    "has a header only": (table(lambda lines: lines[:1]), Done()),
    "is binary": (written(b"\x00\xff\xfe" * 99), Refused(READ)),
    "is in UTF-16": (lambda: ATTRIBUTES.write_bytes(ATTRIBUTES.read_text().encode("utf-16")), Same()),
    "is in Latin-1": (lambda: ATTRIBUTES.write_bytes(ATTRIBUTES.read_bytes().replace(b"1700", b"\xfc")), Warned("not there: 3")),
    "has a byte order mark": (lambda: ATTRIBUTES.write_bytes(b"\xef\xbb\xbf" + ATTRIBUTES.read_bytes()), Same()),
    "has Windows line ends": (lambda: ATTRIBUTES.write_bytes(ATTRIBUTES.read_bytes().replace(b"\n", b"\r\n")), Same()),
    "has blank lines": (table(lambda lines: [*lines, "", ""]), Same()),
    "has semicolons": (table(lambda lines: [line.replace(",", ";") for line in lines]), Refused(READ)),
    "lacks its header": (table(lambda lines: lines[1:]), Refused(READ)),
    "lacks its values": (table(lambda lines: [line.split(",")[0] for line in lines]), Done()),
    "has a row that is too long": (table(lambda lines: [*lines[:2], lines[2] + ",more,1,2", *lines[3:]]), Done()),
    "has a row that is too short": (table(lambda lines: [*lines[:2], lines[2].split(",")[0], *lines[3:]]), Done()),
    "has quotes around every cell": (table(lambda lines: [",".join(f'"{cell}"' for cell in line.split(",")) for line in lines]), Same()),
    "has an open quote": (table(lambda lines: [lines[0], '"' + lines[1], *lines[2:]]), Refused(READ)),
    "has names in capitals": (text(lambda line: line.replace(".wav", ".WAV")), Same()),
    "has backslashes": (text(lambda line: line.replace("/", "\\")), Same()),
    "has names without a folder": (text(lambda line: line.split("/")[-1]), Same()),
    "has spaces around its names": (text(lambda line: " " + line.replace(".wav", ".wav ")), Same()),
    "has a row for an unknown file": (table(lambda lines: [*lines, "fan/train/gone.wav,speed,1"]), Warned("gone|1 row|matches")),
    "has a row twice": (table(lambda lines: [*lines, lines[-1]]), Refused(READ)),
    "has two values for one clip": (table(lambda lines: [*lines, lines[1].replace(",1200", ",9999")]), Refused(READ)),
    "is a folder": (lambda: (ATTRIBUTES.unlink(), ATTRIBUTES.mkdir()), Refused(READ)),
    "is a link to nowhere": (lambda: (ATTRIBUTES.unlink(), ATTRIBUTES.symlink_to("gone")), Refused(READ)),
    "is a link to itself": (lambda: (ATTRIBUTES.unlink(), ATTRIBUTES.symlink_to(ATTRIBUTES.name)), Refused(READ)),
}  # fmt: skip


def _tables() -> list[Fault]:
    return [
        Fault(f"an attribute table {name}", plant, {"train": outcome, "score": outcome})
        for name, (plant, outcome) in TABLES.items()
    ]


FAULTS = [*FOLDERS, *LATER, *_tables()]
