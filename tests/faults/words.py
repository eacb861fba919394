"""Words of the command line, and files of words, that do not fit: each with every stage that takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.faults.fault import Expected, Fault, Refused, Words

TRAINING, READING = ("train", "score"), ("evaluate", "submit")

# word, the stages that take it, what the sentence says
WORDS: list[tuple[str, tuple[str, ...], str]] = [
    ("machine=fann", ("train", "score", "explain", "submit"), "fann.*fan"),
    ("machine=", ("train", "score", "explain", "submit"), "machine"),
    ("machine=fan,,pump", TRAINING, "machine"),
    ("machine=../data/fan", TRAINING, "fan"),
    ("machine=fan/train", TRAINING, "fan"),
    ("data=nowhere", TRAINING, "nowhere"),
    ("data=", TRAINING, "data"),
    ("data=data/fan/attributes_00.csv", TRAINING, "attributes_00"),
    ("year=1999", ("train", "score", "evaluate", "submit", "validate", "bundle", "leaderboard"), "1999"),
    ("year=next", ("train", "score", "evaluate", "submit", "validate", "bundle"), "year"),
    ("name=a/b", TRAINING, "name"),
    ("name=..", TRAINING, "name"),
    ("name=", TRAINING, "name"),
    ("name=none", ("evaluate", "submit", "explain", "score"), "none"),
    ("runs=nowhere", ("evaluate", "submit", "leaderboard", "fuse", "explain", "score"), "nowhere"),
    ("runs=data/fan/attributes_00.csv", ("train", "evaluate", "submit"), "attributes_00|cannot write"),
    ("seed=-1", TRAINING, "seed"),
    ("seed=one", TRAINING, "seed"),
    ("seeds=0,0", TRAINING, "seed"),
    ("seed=7", ("submit", "explain", "score"), "7"),
    ("seed=99999999999999999999", TRAINING, "seed"),
    ("device=quantum", TRAINING, "quantum"),
    ("device=", TRAINING, "device"),
    ("detector=none", ("train",), "none"),
    ("detector=", ("train",), "detector"),
    ("sample_rate_hz=0", TRAINING, "sample_rate_hz"),
    ("sample_rate_hz=nan", TRAINING, "sample_rate_hz"),
    ("sample_rate_hz=8000", ("train",), "16000"),
    ("decision.quantile=2", TRAINING, "quantile"),
    ("decision.quantile=nan", TRAINING, "quantile"),
    ("decision.method=otsu", TRAINING, "method"),
    ("training.epochs=-1", ("train",), "epochs"),
    ("training.epochs=1e400", ("train",), "epochs"),
    ("training.learning_rate=inf", ("train",), "learning_rate"),
    ("training.learning_rate=-1", ("train",), "learning_rate"),
    ("training.batch_size=0", ("train",), "batch_size"),
    ("frontend=both", TRAINING, "frontend"),
    ("frontend=far", TRAINING, "one channel"),
    ("weights=gone.pth", ("train", "score"), "gone.pth|weights"),
    ("weights=data/fan/attributes_00.csv", ("score",), "another configuration|attributes_00"),
    ("overwrite=perhaps", TRAINING, "overwrite"),
    ("config=gone.yaml", ("train", "score", "evaluate", "submit", "validate", "bundle", "fuse", "leaderboard"), "gone.yaml"),
    ("config=data", ("train", "evaluate"), "data"),
    ("scorer=none", ("evaluate", "submit", "explain"), "none"),
    ("part=test", ("evaluate",), "part"),
    ("part=eval", ("evaluate",), "truth|label|data"),
    ("ground_truth=nowhere", ("evaluate",), "ground_truth|submission"),
    ("submission=nowhere", ("evaluate",), "submission"),
    ("json=data/fan/attributes_00.csv/x.json", ("evaluate",), "cannot write"),
    ("json=/dev/full", ("evaluate",), "No space left"),
    ("json=/proc/x.json", ("evaluate",), "cannot write"),
    ("out=/dev/full", ("submit", "bundle"), "/dev/full"),
    ("out=/proc/packages", ("submit",), "cannot write"),
    ("runs=/proc/runs", ("train",), "cannot write"),
    ("label=me", ("submit",), "label"),
    ("label=A_B_task2_9", ("submit",), "label"),
    ("label=../A_B_task2_1", ("submit",), "label"),
    ("team=../x", ("bundle",), "team"),
    ("team=Other_LAB", ("bundle",), "Other_LAB"),
    ("report=gone.pdf", ("bundle",), "gone.pdf"),
    ("report=data/fan/attributes_00.csv", ("bundle",), "PDF"),
    ("template=gone.yaml", ("submit", "validate", "bundle"), "gone.yaml"),
    ("template=data/fan/attributes_00.csv", ("submit", "validate", "bundle"), "attributes_00"),
    ("authors=gone.yaml", ("submit",), "gone.yaml"),
    ("authors=data/fan/attributes_00.csv", ("submit",), "attributes_00"),
    ("members=one,one", ("fuse",), "one"),
    ("members=one,none", ("leaderboard", "fuse"), "none"),
    ("members=", ("fuse",), "members"),
    ("members=one:none,two", ("leaderboard", "fuse"), "none"),
    ("clip=gone.wav", ("explain",), "gone.wav"),
    ("worst=0", ("explain",), "worst"),
    ("path=nowhere", ("validate",), "nowhere"),
    ("path=data/fan/attributes_00.csv", ("validate",), "attributes_00"),
    ("colour=red", ("train", "score", "evaluate", "submit", "validate", "bundle", "fuse", "leaderboard", "explain"), "colour"),
    ("fan", ("train", "score", "evaluate", "submit", "fuse"), "fan"),
    ("=fan", ("train", "evaluate"), "=fan"),
    ("--colour", ("train", "evaluate"), "colour"),
    ("--fan=3", ("train", "evaluate"), "fan"),
    ("", ("train", "evaluate", "bundle"), "''"),
    ("naïve=1", ("train", "evaluate"), "na"),
]  # fmt: skip

YAMLS: dict[str, tuple[bytes, str]] = {
    "is empty": (b"", "c.yaml"),
    "is binary": (b"\x00\xff\xfe" * 20, "c.yaml"),
    "is a list": (b"- a\n- b\n", "c.yaml"),
    "is a word": (b"words", "c.yaml"),
    "is no YAML": (b"a: [b", "c.yaml"),
    "has tabs": (b"training:\n\tepochs: 1\n", "c.yaml"),
    "has an unknown key": (b"colour: red\n", "colour"),
    "has a value of another kind": (b"year: [1, 2]\n", "year"),
    "has a value where a group belongs": (b"training: 3\n", "training"),
    "has a date": (b"year: 2025-02-30\n", "c.yaml|year"),
    "has keys that are lists": (b"? [a, b]\n: c\n", "c.yaml"),
    "has keys that are numbers": (b"1: 2\n", "1"),
    "has tags of Python": (b"name: !!python/object/apply:os.getcwd []\n", "c.yaml"),
    "holds itself": (b"training: &a\n  epochs: *a\n", "c.yaml|epochs"),
    "is nested without end": (b"[" * 3000, "c.yaml"),
}


def yaml(content: bytes) -> Callable[[], object]:
    return lambda: Path("c.yaml").write_bytes(content)


def _faults() -> list[Fault]:
    faults = [
        Fault(f"the word {word}", Words(word), dict.fromkeys(stages, Refused(saying))) for word, stages, saying in WORDS
    ]
    for name, (content, saying) in YAMLS.items():
        expected: dict[str, Expected] = dict.fromkeys(("train", "evaluate"), Refused(saying))
        faults.append(Fault(f"a file of words {name}", Words("config=c.yaml", yaml(content)), expected))
    return faults


FAULTS = _faults()
