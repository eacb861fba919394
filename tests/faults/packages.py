"""Packages of a submission that somebody edited or moved."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.faults.fault import LABEL, Defect, Expected, Fault, Refused, Same

PACKAGE = Path("submissions") / LABEL
SCORES = PACKAGE / "anomaly_score_fan_section_00_test.csv"
DECISIONS = PACKAGE / "decision_result_fan_section_00_test.csv"
META = PACKAGE / f"{LABEL}.meta.yaml"


def lines(path: Path, change: Callable[[list[str]], list[str]]) -> Callable[[], object]:
    return lambda: path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def value(path: Path, text: str) -> Callable[[], object]:
    return lines(path, lambda rows: [rows[0].split(",")[0] + "," + text, *rows[1:]])


def named(name: str) -> Callable[[], object]:
    return lines(SCORES, lambda rows: [name + "," + rows[0].split(",")[1], *rows[1:]])


def content(path: Path, change: Callable[[bytes], bytes]) -> Callable[[], object]:
    return lambda: path.write_bytes(change(path.read_bytes()))


def both(outcome: Expected) -> dict[str, Expected]:
    return {"validate": outcome, "bundle": outcome}


FILE = "anomaly_score_fan|decision_result_fan"
DEFECTS: dict[str, Callable[[], object]] = {
    "lacks a score file": SCORES.unlink,
    "lacks a decision file": DECISIONS.unlink,
    "has an empty score file": content(SCORES, lambda b: b""),
    "has a binary score file": content(SCORES, lambda b: b"\x00\xff\xfe" * 40),
    "has a score file of zeros": content(SCORES, lambda b: bytes(len(b))),
    "has a score file in UTF-16": content(SCORES, lambda b: b.decode().encode("utf-16")),
    "has a score file that is cut": content(SCORES, lambda b: b[:-30]),
    "has a score file with a header": lines(SCORES, lambda rows: ["file,score", *rows]),
    "has a score file with semicolons": content(SCORES, lambda b: b.replace(b",", b";")),
    "has a score that is NaN": value(SCORES, "nan"),
    "has a score that is infinite": value(SCORES, "-inf"),
    "has a score that is a word": value(SCORES, "high"),
    "has a score that is empty": value(SCORES, ""),
    "has a score with a decimal comma": value(SCORES, "0,25"),
    "has a decision of 2": value(DECISIONS, "2"),
    "has a decision that is a word": value(DECISIONS, "anomaly"),
    "has a decision that is NaN": value(DECISIONS, "nan"),
    "has a clip twice": lines(SCORES, lambda rows: [*rows[:-1], rows[0]]),
    "lacks a clip": lines(SCORES, lambda rows: rows[1:]),
    "has an unknown clip": named("section_00_source_test_normal_9999_x.wav"),
    "has a clip with a folder": named("test/" + "section_00_source_test_normal_0000_speed_1200.wav"),
    "has a clip with a space at its end": lines(SCORES, lambda rows: [row.replace(".wav", ".wav ", 1) for row in rows]),
    "has a clip in capitals": lines(SCORES, lambda rows: [row.replace(".wav", ".WAV") for row in rows]),
    "has a third column": lines(SCORES, lambda rows: [row + ",1" for row in rows]),
    "has a blank line in the middle": lines(SCORES, lambda rows: [rows[0], "", *rows[1:]]),
    "has a score file that is a folder": lambda: (SCORES.unlink(), SCORES.mkdir()),
    "has a score file that is a link to nowhere": lambda: (SCORES.unlink(), SCORES.symlink_to("gone")),
    "has a score file that is a link to itself": lambda: (SCORES.unlink(), SCORES.symlink_to(SCORES.name)),
}  # fmt: skip

META_DEFECTS: dict[str, Callable[[], object]] = {
    "lacks its meta file": META.unlink,
    "has an empty meta file": content(META, lambda b: b""),
    "has a binary meta file": content(META, lambda b: b"\x00\xff" * 30),
    "has a meta file that is no YAML": content(META, lambda b: b"a: [b"),
    "has a meta file that is a list": content(META, lambda b: b"- a\n- b\n"),
    "has a meta file that is cut": content(META, lambda b: b[:90]),
    "has a meta file with tags of Python": content(META, lambda b: b"a: !!python/object/apply:os.system ['true']\n"),
    "has a meta file that grows without end": content(
        META, lambda b: b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(9)),
    ),
    "has the label of another system": content(META, lambda b: b.replace(LABEL.encode(), b"Other_LAB_task2_1")),
    "has results of NaN": content(META, lambda b: b.replace(b"auc_source: ", b"auc_source: .nan #")),
    "has results that are words": content(META, lambda b: b.replace(b"auc_source: ", b"auc_source: high #")),
}  # fmt: skip

OTHERS = [
    Fault("a package has a file too many", lambda: (PACKAGE / "notes.txt").write_text("x"), both(Defect("notes.txt"))),
    Fault("a package has a folder too many", lambda: (PACKAGE / "more").mkdir(), {"validate": Same(), "bundle": Defect("more")}),
    Fault("a package is gone", lambda: shutil.rmtree(PACKAGE), {"validate": Refused(LABEL), "bundle": Refused("Tester_LAB")}),
    Fault("a package is empty", lambda: (shutil.rmtree(PACKAGE), PACKAGE.mkdir()), {"validate": Defect("holds no system"), "bundle": Defect("missing")}),
    Fault("a package is a file", lambda: (shutil.rmtree(PACKAGE), PACKAGE.write_text("x")), {"validate": Refused(LABEL), "bundle": Refused("Tester_LAB")}),
    Fault("a package is a link", lambda: (shutil.move(PACKAGE, "far"), PACKAGE.symlink_to(Path("far").resolve())), {"validate": Same()}),
    Fault("a package is a link to itself", lambda: (shutil.rmtree(PACKAGE), PACKAGE.symlink_to(PACKAGE.name)), {"validate": Refused(LABEL), "bundle": Refused("Tester_LAB|loop")}),
    Fault("the packages are gone", lambda: shutil.rmtree("submissions"), {"validate": Refused(LABEL), "bundle": Refused("submissions"), "submit": Same()}),
    Fault("a package has Windows line ends", content(SCORES, lambda b: b.replace(b"\n", b"\r\n")), {"validate": Same()}),
    Fault("a package lacks a last line end", content(SCORES, lambda b: b.rstrip(b"\n")), {"validate": Same()}),
    Fault("a package has a hidden file of a Mac", lambda: (PACKAGE / "._x").write_text(""), {"validate": Defect("_x")}),
]  # fmt: skip

FAULTS = [
    *(Fault(f"a package {name}", plant, both(Defect(FILE))) for name, plant in DEFECTS.items()),
    *(Fault(f"a package {name}", plant, both(Defect("meta"))) for name, plant in META_DEFECTS.items()),
    *OTHERS,
]
