"""Words that do not fit, and stages that lack what they need: one sentence with the nearest word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from tests.command import NAME, SHORT, asd, refuses, short_training, succeeds, tiny_machines

WORDS = {
    "machine=fann": "machine='fann' is not under .*did you mean fan",
    "machine=Fan": "did you mean fan",
    "machine=lathe": "machine='lathe' is not under .*It holds fan",
    "machine=": "machine= does not fit: it is empty; name one",
    "machine=fan,fann": "'fann'",
    "machine=../fan": r"machine=\.\./fan does not fit: '\.\./fan' has a slash or begins with a dot",
    f"machine={'x' * 181}": "or more than 180 bytes",
    "machine=fan,.fan": r"'\.fan' has a slash or begins with a dot",
    "channel=-1": "channel=-1 does not fit: .*greater than or equal to 0, or .*'mean'",
    "channel=left": "channel=left does not fit: .*integer.*, or .*'mean'",
    "sample_rate_hz=1000000000": "sample_rate_hz=1000000000 does not fit: .*less than or equal to 1000000",
    "training.epoch=3": r"unknown key 'training\.epoch': did you mean training\.epochs\?",
    "epochs=3": r"unknown key 'epochs': did you mean training\.epochs\?",
    "machin=fan": "unknown key 'machin': did you mean machine",
    "zzzz=1": "unknown key 'zzzz': known keys: machine, data",
    "training=3": "unknown key 'training'",
    "detector=autoencodr": "detector=autoencodr is unknown; choose one of .*autoencoder",
    "training.epochs=many": "epochs=many does not fit: .*integer",
    "training.epochs=0": "epochs=0 does not fit: .*greater than or equal to 1",
    "training.epochs=": "epochs= does not fit",
    "training.learning_rate=nan": "learning_rate=nan does not fit",
    "decision.method=otsu": "method=otsu does not fit: .*gamma.*percentile",
    "decision.quantile=1": "quantile=1 does not fit",
    "compatible=perhaps": "compatible=perhaps does not fit",
    "seed=-1": "seeds=-1 does not fit",
    "seeds=0,x": "seeds=x does not fit",
    "seeds=": "seeds= does not fit",
    "year=1999": "year=1999 is not in the catalogue: choose one of 2020",
    "name=a/b": "name=a/b does not fit",
    f"name={'x' * 181}": "at most 180 bytes",
    "name=": "name= does not fit",
    "device=quantum": "device=quantum is not a device torch knows",
    "device=mps": "device=mps is not supported; use auto, cpu or cuda",
    "weights=w.pth": "weights=w.pth goes with `score`",
    "fan": "'fan' is not a key=value argument",
    "config=none.yaml": r"config=none\.yaml does not exist; the ready ones",
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_does_not_fit(place: Path, word: str) -> None:
    refuses(*short_training(word), saying=WORDS[word])
    assert not (place / "runs").exists()


def test_an_unknown_stage(place: Path) -> None:
    refuses("trian", "machine=fan", saying="unknown stage 'trian': did you mean train?")
    refuses("xyzzy", saying="unknown stage 'xyzzy': stages: data, data-check, train")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("training: {epoch: 3}", r"c\.yaml: unknown key 'training\.epoch': did you mean training\.epochs"),
        ("training: [", r"c\.yaml is not a readable YAML file"),
        ("just words", r"c\.yaml is .*holds no key: value lines"),
        ("training: {epochs: many}", "epochs=many does not fit"),
    ],
)
def test_a_config_file_that_does_not_fit(place: Path, text: str, sentence: str) -> None:
    Path("c.yaml").write_text(text)
    refuses("train", "machine=fan", "data=data", "config=c.yaml", saying=sentence)


def test_a_gpu_that_is_not_there(place: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    refuses(*short_training("device=cuda"), saying="device=cuda was asked for but torch sees no GPU; use device=auto")


def test_stages_that_lack_what_they_need(place: Path) -> None:
    refuses("evaluate", NAME, saying="runs/autoencoder does not exist .*none yet.*`train machine=.* makes it")
    refuses("evaluate", "submission=x", saying="takes all of submission=DIR ground_truth=DIR out=DIR")
    refuses("evaluate", "ground_truth=x", saying="; published labels of a run's evaluation set go with part=eval")
    submission = ("submission=x", "ground_truth=x", "out=x")
    refuses("evaluate", *submission, "machine=fan", saying="machine= is an option of the evaluation of a run, not of")
    refuses("evaluate", "out=x", saying="out=x is for submissions, and a run keeps its results; name a copy with json=")
    refuses("submit", saying="label= is missing; see python -m asd submit --help")
    refuses("submit", "label=me", saying=r"label='me' is not \[LastName\]_\[Institute\]")
    refuses("submit", NAME, "label=A_B_task2_1", saying="runs/autoencoder does not exist")
    refuses("validate", saying="path= is missing")
    refuses("validate", "nowhere", saying="nowhere is neither a folder nor a zip")
    refuses("score", NAME, "data=data", saying=r"runs/autoencoder/fan/seed0/model holds no model; first `train")
    assert not (place / "runs").exists()


def test_words_about_a_run_that_has_them_not(run: Path) -> None:
    refuses("evaluate", NAME, "scorer=mes", saying="scorer=mes is not among the run's scorers: .*mahalanobis.*, mse")
    refuses("evaluate", "name=autoencodre", saying=r"does not exist \(runs there: autoencoder\)")
    package = ("submit", NAME, "label=A_B_task2_1")
    refuses(*package, "scorer=mes", saying="no scores of scorer=mes; it has .*mahalanobis.*, mse")
    refuses(*package, "seed=5", saying="runs/autoencoder holds no complete run with seed=5")
    refuses(*package, "machine=pump", saying="machine=pump is not in the run; it has fan")
    assert not Path("submissions").exists()


def test_runs_that_do_not_match_each_other(run: Path) -> None:
    tiny_machines(Path("data"), "valve")
    succeeds("train", "machine=valve", "seed=1", "data=data", *SHORT)
    refuses("evaluate", NAME, saying=r"different seeds \(fan 0; valve 1\); train the missing ones")


OTHER_YEARS = {
    ("fan", "year=2024"): None,
    ("lathe", "year=2024"): None,
    ("Sander", "year=2026"): None,
    ("Sander,fan", "year=2024"): None,
    ("Sander", "year=2024"): "holds no machine of 2024, but Sander of 2026: .*, say year=2026$",
    ("Sander,lathe", "year=2024"): "but Sander of 2026: ",
    ("pump", "year=2025"): "holds no machine of 2025, but pump of 2020 or 2021: .*, say year=2020 or 2021$",
    ("ToyDrone,Sander", "year=2025"): "but Sander of 2026: ",
    ("bearing,grinder", "year=2026"): "but grinder of 2023: .*, say year=2023$",  # of the fewest years
    ("slider", "year=2026"): "but slider of 2020, 2021, 2022, 2023, 2024 or 2025: ",
}


OTHER_SECTIONS = {
    ("fan", "00,01,02", 2025): "own holds other sections of fan than 2025 has, those of 2020, 2021 or 2022: .*, say",
    ("gearbox", "03,04", 2024): "than 2024 has, those of 2021 or 2022: ",
    ("bearing", "00,01", 2023): "than 2023 has, those of 2022: .*, say year=2022$",
    ("bearing", "00,01", 2022): None,
    ("bearing", "00", 2023): None,
    ("bearing", "02,03", 2022): None,  # of both sets
    ("bearing", "07", 2022): None,  # of no year
}


@pytest.mark.parametrize(("machine", "sections", "year"), OTHER_SECTIONS)
def test_sections_of_another_year_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, sections: str, year: int
) -> None:
    """The machines of several years have the same names, and the rule of another one gives another score."""
    monkeypatch.chdir(tmp_path)
    for section in sections.split(","):
        clip = Path("own", machine, f"train/section_{section}_source_train_normal_0000_noAttribute.wav")
        clip.parent.mkdir(parents=True, exist_ok=True)
        clip.write_bytes(b"")
    said = other_year_warnings(asd("train", "data=own", f"year={year}").err)
    sentence = OTHER_SECTIONS[machine, sections, year]
    assert len(said) == (sentence is not None)
    assert re.search(sentence or "", "".join(said))


def other_year_warnings(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("WARNING: own ")]


@pytest.mark.parametrize(("machines", "year"), OTHER_YEARS)
def test_machines_of_another_year_are_named_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machines: str, year: str
) -> None:
    """Before a recording is opened: none of these can be read."""
    monkeypatch.chdir(tmp_path)
    for machine in machines.split(","):
        clip = Path("own", machine, "train/section_00_source_train_normal_0000_noAttribute.wav")
        clip.parent.mkdir(parents=True)
        clip.write_bytes(b"")
    answer = asd("train", "machine=all", "data=own", year)
    assert answer.code == 2
    sentence = OTHER_YEARS[machines, year]
    assert len(other_year_warnings(answer.err)) == (sentence is not None)
    assert re.search(sentence or "", "".join(other_year_warnings(answer.err)))


def test_machines_of_another_year_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_machines(Path("own"), "Sander")
    for stage in ("train", "score"):
        answer = succeeds(stage, "machine=all", "data=own", "year=2024")
        assert len(other_year_warnings(answer.err)) == 1
