"""Score tables and other files of a finished run, changed by hand, by a spreadsheet or by a failing disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.faults.fault import Done, Expected, Fault, Refused, Same, Warned

RUN = Path("runs/one/fan/seed0")
READERS = ("evaluate", "leaderboard", "fuse", "submit")


def table() -> Path:
    """The score table that stands for the run."""
    return RUN / "scores" / f"{json.loads((RUN / 'DONE').read_text())['default']}.csv"


def lines_changed(change: Callable[[list[str]], list[str]]) -> Callable[[], object]:
    def plant() -> None:
        path = table()
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return plant


def row_changed(change: Callable[[list[str]], list[str]]) -> Callable[[], object]:
    """The first row's cells: machine, section, domain, split, label, file, score, decision."""

    def of(lines: list[str]) -> list[str]:
        return [lines[0], ",".join(change(lines[1].split(","))), *lines[2:]]

    return lines_changed(of)


def cell(column: int, value: str) -> Callable[[], object]:
    return row_changed(lambda cells: [*cells[:column], value, *cells[column + 1 :]])


def written(content: bytes) -> Callable[[], object]:
    return lambda: table().write_bytes(content)


def bytes_changed(change: Callable[[bytes], bytes]) -> Callable[[], object]:
    return lambda: table().write_bytes(change(table().read_bytes()))


NAMED = r"fan/seed0/scores/\w+\.csv|section_00_\w+\.wav|lathe|scored different (test )?clips"
SCORES: dict[str, tuple[Callable[[], object], Expected]] = {
    "is empty": (written(b""), Refused(NAMED)),
    "has a header only": (lines_changed(lambda lines: lines[:1]), Refused(NAMED)),
    "is binary": (written(b"\xff\xfe\x00\x01" * 50), Refused(NAMED)),
    "is zeros on the disk": (bytes_changed(lambda b: bytes(len(b))), Refused(NAMED)),
    "is cut in a row": (bytes_changed(lambda b: b[:-40]), Refused(NAMED)),
    "lacks its header": (lines_changed(lambda lines: lines[1:]), Refused(NAMED)),
    "lacks a column": (
        lines_changed(lambda lines: [line.rsplit(",", 1)[0] for line in lines]), Refused(NAMED),
    ),
    "has semicolons": (lines_changed(lambda lines: [line.replace(",", ";") for line in lines]), Refused(NAMED)),
    "has a score that is NaN": (cell(6, "nan"), Refused(NAMED)),
    "has a score that is infinite": (cell(6, "inf"), Refused(NAMED)),
    "has a score that is empty": (cell(6, ""), Refused(NAMED)),
    "has a score that is a word": (cell(6, "high"), Refused(NAMED)),
    "has a score with a decimal comma": (
        row_changed(lambda cells: [*cells[:6], '"0,25"', cells[7]]), Refused(NAMED),
    ),
    "has a label that is a word": (cell(4, "broken"), Refused(NAMED)),
    "has a domain that is a word": (cell(2, "elsewhere"), Refused(NAMED)),
    "has a decision of 2": (cell(7, "2"), Refused(NAMED)),
    "has a row twice": (lines_changed(lambda lines: [*lines, lines[1]]), Refused(NAMED)),
    "has rows of another machine": (cell(0, "lathe"), Refused(NAMED)),
    "has a row with too many cells": (row_changed(lambda cells: [*cells, "more"]), Refused(NAMED)),
    "has Windows line ends": (bytes_changed(lambda b: b.replace(b"\n", b"\r\n")), Same()),
    "has a blank line at its end": (bytes_changed(lambda b: b + b"\n\n"), Same()),
    "has a byte order mark": (bytes_changed(lambda b: b"\xef\xbb\xbf" + b), Same()),
}  # fmt: skip


def _scores() -> list[Fault]:
    return [
        Fault(f"a score table {name}", plant, dict.fromkeys(READERS, outcome))
        for name, (plant, outcome) in SCORES.items()
    ]


def removed(name: str) -> Callable[[], object]:
    return lambda: (RUN / name).unlink()


def spoilt(name: str, content: bytes = b"") -> Callable[[], object]:
    return lambda: (RUN / name).write_bytes(content)


def cut(name: str) -> Callable[[], object]:
    return lambda: (RUN / name).write_bytes((RUN / name).read_bytes()[:20])


def other_version() -> None:
    path = RUN / "model/fit.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 0}))


def swapped() -> None:
    """The folders of two machines have each other's names."""
    for old, new in (("fan", "x"), ("pump", "fan"), ("x", "pump")):
        Path("runs/one", old).rename(Path("runs/one", new))


MODEL_FILES = ("weights.safetensors", "training_scores.csv", "front_end.json", "facts.json")


def _models() -> list[Fault]:
    return [
        Fault(
            f"the model's {name} is {how}",
            damage(f"model/{name}"),
            {"score": Refused("damaged"), "explain": Refused("damaged"), "fuse": Refused("damaged")},
        )
        for name in MODEL_FILES
        for how, damage in (("gone", removed), ("empty", spoilt), ("cut", cut))
    ]


RUN_FILES = [
    Fault("a run lacks DONE", removed("DONE"), {"evaluate": Refused(""), "submit": Refused(""), "fuse": Refused(""), "leaderboard": Refused(""), "train again": Same(), "score": Same()}),
    Fault("DONE is empty", spoilt("DONE"), {"evaluate": Refused("DONE"), "submit": Refused("DONE"), "fuse": Refused("DONE"), "leaderboard": Refused("DONE"), "train again": Refused("damaged.*remove it")}),
    Fault("DONE is no JSON", spoilt("DONE", b"{half"), {"evaluate": Refused("DONE"), "submit": Refused("DONE"), "train again": Refused("damaged.*remove it")}),
    Fault("DONE is binary", spoilt("DONE", b"\xff\xfe\x00"), {"evaluate": Refused("DONE"), "train again": Refused("damaged.*remove it")}),
    Fault("DONE holds a list", spoilt("DONE", b"[]"), {"evaluate": Refused("DONE"), "submit": Refused("DONE"), "train again": Refused("damaged.*remove it")}),
    Fault("DONE lacks its fields", spoilt("DONE", b"{}"), {"evaluate": Refused("DONE"), "submit": Refused("DONE"), "train again": Same()}),
    Fault("DONE names an unknown scorer", spoilt("DONE", b'{"default": "none", "fingerprint": ""}'), {"evaluate": Refused(""), "submit": Refused("")}),
    Fault("a run lacks its configuration", removed("config.yaml"), {"score": Refused(""), "explain": Refused("config.yaml"), "evaluate": Same(), "train again": Same()}),
    Fault("a configuration is empty", spoilt("config.yaml"), {"score": Refused("config.yaml"), "explain": Refused("config.yaml")}),
    Fault("a configuration is no YAML", spoilt("config.yaml", b"a: [b"), {"score": Refused("config.yaml"), "explain": Refused("config.yaml")}),
    Fault("a configuration is binary", spoilt("config.yaml", b"\x00\xff" * 9), {"score": Refused("config.yaml"), "explain": Refused("config.yaml")}),
    Fault("a configuration has an unknown key", spoilt("config.yaml", b"colour: red\n"), {"score": Refused("colour"), "explain": Refused("colour")}),
    Fault("the thresholds are gone", removed("scores/thresholds.json"), {"evaluate": Same(), "submit": Same(), "score": Same()}),
    Fault("the thresholds are no JSON", spoilt("scores/thresholds.json", b"{"), {"evaluate": Done(), "score": Same()}),
    Fault("a run lacks its model", lambda: shutil.rmtree(RUN / "model"), {"score": Refused("holds no model"), "explain": Done(), "evaluate": Same(), "train again": Done()}),
    Fault("a run lacks its scores", lambda: shutil.rmtree(RUN / "scores"), {"evaluate": Refused(""), "submit": Refused(""), "fuse": Refused(""), "leaderboard": Refused(""), "score": Done(), "train again": Done()}),
    Fault("fit.json is gone", removed("model/fit.json"), {"score": Refused("holds no model"), "fuse": Refused("fit.json is missing; start the same train"), "train again": Done()}),
    Fault("fit.json is no JSON", spoilt("model/fit.json", b"{"), {"score": Refused("fit.json|no model|damaged"), "train again": Refused("damaged.*remove it")}),
    Fault("fit.json holds a list", spoilt("model/fit.json", b"[]"), {"score": Refused("fit.json|no model|damaged"), "train again": Refused("damaged.*remove it")}),
    Fault("a machine's run was copied under another name", lambda: shutil.copytree("runs/one/fan", "runs/one/lathe"), {**dict.fromkeys(READERS, Refused("lathe/seed0/scores/.*holds scores of fan in the folder of lathe")), "train again": Same()}),
    Fault("a machine's run was swapped for that of another", swapped, {"score": Refused("fan/seed0/model was fitted on pump and lies in the folder of fan")}),
    Fault("a score was changed after the evaluation", cell(6, "0.123"), {"evaluate": Done(), **dict.fromkeys(("leaderboard", "submit", "train again"), Warned("runs/one/evaluation.json is of earlier scores"))}),
    Fault("a model was made by another version", other_version, dict.fromkeys(("score", "explain", "train again"), Refused("version 0 of its detector and this is version 1.*overwrite=true"))),
    Fault("another file lies in the run", lambda: (RUN / "notes.txt").write_text("x"), {"evaluate": Same(), "submit": Same(), "score": Same()}),
    Fault("another file lies among the scores", lambda: (RUN / "scores/.mse.csv.swp").write_bytes(b"\x00"), {"evaluate": Same(), "submit": Same(), "score": Done()}),
    Fault("a file lies among the runs", lambda: Path("runs/.DS_Store").write_bytes(b"\x00"), {"evaluate": Same(), "train": Done(), "leaderboard": Same()}),
    Fault("a file lies among the machines of a run", lambda: Path("runs/one/.DS_Store").write_bytes(b"\x00"), {"evaluate": Same(), "submit": Same(), "leaderboard": Same()}),
    Fault("a run was made in the future", lambda: [__import__("os").utime(p, (4e9, 4e9)) for p in Path("runs").rglob("*")], {"evaluate": Same(), "submit": Same(), "score": Same(), "train again": Same()}),
    Fault("a run was made in 1970", lambda: [__import__("os").utime(p, (0, 0)) for p in Path("runs").rglob("*")], {"evaluate": Same(), "submit": Same(), "score": Same(), "train again": Same()}),
    Fault("the cache is gone", lambda: shutil.rmtree("runs/.cache"), {"score": Same(), "train again": Same()}),
    Fault("the cache is damaged", lambda: [p.write_bytes(b"") for p in Path("runs/.cache").rglob("*") if p.is_file()], {"score": Same()}),
    Fault("the cache is cut", lambda: [p.write_bytes(p.read_bytes()[:200]) for p in Path("runs/.cache").rglob("*") if p.is_file()], {"score": Same()}),
    Fault("the cache holds zeros", lambda: [p.write_bytes(bytes(p.stat().st_size)) for p in Path("runs/.cache").rglob("*") if p.is_file()], {"score": Same()}),
]  # fmt: skip


FAULTS = [*_scores(), *_models(), *RUN_FILES]
