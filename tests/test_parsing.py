from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from asd.options import Settings
from asd.settings.config import Run
from asd.settings.parsing import check_options, parse, run_config, stored_run
from asd.settings.stages import Evaluate, Leaderboard, Listen, Predict, Serve, Submit, Validate
from asd.types import AsdError
from tests.command import refuses


def test_words_become_typed_settings() -> None:
    given = ["machine=fan,valve", "seeds=0,1,2", "training.epochs=5", "compatible=true", "data=d"]
    run = parse(Run, ["detector=autoencoder", *given])
    assert run.machine == ["fan", "valve"]
    assert run.seeds == [0, 1, 2]
    assert run.autoencoder.training.epochs == 5
    assert run.autoencoder.compatible is True
    assert run.data == Path("d")


def test_options_may_be_written_as_other_tools_take_them() -> None:
    run = parse(Run, ["--keep-going", "--sample-rate-hz=8000", "machine=a-b"])
    assert (run.keep_going, run.sample_rate_hz, run.machine) == (True, 8000, ["a-b"])


def test_a_stage_of_several_runs_says_so_where_one_is_named() -> None:
    with pytest.raises(AsdError, match="name= is one run, and this stage takes several: say members=RUN1,RUN2"):
        parse(Leaderboard, ["name=a"])
    with pytest.raises(AsdError, match="unknown key 'name'"):
        parse(Validate, ["name=a"])


def test_seed_is_short_for_seeds() -> None:
    assert parse(Run, ["seed=7"]).seeds == [7]
    with pytest.raises(AsdError, match="unknown key 'seed': known keys: name, runs"):
        parse(Evaluate, ["seed=7"])  # which has neither


def test_a_file_lies_below_the_words(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("detector: autoencoder\ntraining:\n  epochs: 3\n  batch_size: 64\n")
    run = parse(Run, ["autoencoder.training.epochs=9", "n_mels=16", f"config={tmp_path / 'a.yaml'}"])
    training = run.autoencoder.training
    assert (run.detector, training.epochs, training.batch_size) == ("autoencoder", 9, 64)
    assert run.autoencoder.n_mels == 16  # an option of the detector that the file names


def test_a_folder_of_tables_is_not_called_as_one() -> None:
    with pytest.raises(AsdError, match=r"out=today\.csv does not fit: it would be a folder .*without \.csv"):
        parse(Predict, ["audio=new", "out=today.csv"])
    assert parse(Predict, ["audio=new", "out=2026.03"]).out == Path("2026.03")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["machin=fan"], r"unknown key 'machin': did you mean machine\?"),
        (["detector=autoencoder", "epochs=3"], r"unknown key 'epochs': did you mean training.epochs\?"),
        (["compatible=true"], r"compatible= is no option of detector=statistics; write autoencoder.compatible"),
        (["detector=embedding", "backend=knn"], r"write embedding.backends or statistics.backend$"),
        (["training.epoch=3"], r"did you mean training.epochs\?"),
        (["xyzzy=3"], "unknown key 'xyzzy': known keys: machine, data"),
        (["fan"], "'fan' is not a key=value argument"),
        (["training.epochs=many"], "training.epochs=many does not fit: .*integer"),
        (["training.epochs=0"], "training.epochs=0 does not fit"),
        (["seeds="], "seeds"),
        (["decision.quantile=1.5"], "decision.quantile=1.5 does not fit"),
        (["name=../other"], "name=../other does not fit: the name of a run has no .* try other"),
        (["name=my run"], "name=my run does not fit: the name of a run has no spaces.*; try my_run"),
        (["detector=statistic"], "detector=statistic is unknown; .*did you mean statistics"),
        (["detector=no.such:Class"], "detector=no.such:Class cannot be imported"),
        (["detector=asd.types:Clip"], "detector=asd.types:Clip is no subclass of asd.detectors.base.Detector"),
        (["config=nowhere.yaml"], r"config=nowhere.yaml does not exist"),
        (["seeds=a,b"], "^seeds=a does not fit: [^,]*integer, unable[^,]*$"),  # said once
        (["channel=x"], "^channel=x does not fit: .*integer.*, or Input should be 'mean'$"),
    ],
)
def test_wrong_words_are_one_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(AsdError, match=sentence):
        parse(Run, words)


def test_a_missing_option_is_named_with_the_command_that_wants_it() -> None:
    with pytest.raises(AsdError, match="label= is missing; see python -m asd submit --help"):
        parse(Submit, ["name=run"], command="submit")
    refuses("sed", "make-soundscapes", saying="events= is missing; see python -m asd sed make-soundscapes --help")


def test_numbers_in_a_file_may_be_names(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("name: 2024\nmachine: [7, fan]\nseed: 3\n")
    run = parse(Run, [f"config={tmp_path / 'x.yaml'}"])
    assert (run.name, run.machine, run.seeds) == ("2024", ["7", "fan"], [3])


def test_a_run_of_another_version_says_so(tmp_path: Path) -> None:
    with pytest.raises(AsdError, match=r"does not fit this version of asd \(unknown key 'embedding.attribute_head'"):
        stored_run(old := {"detector": "embedding", "embedding": {"attribute_head": "bce"}})
    store(tmp_path, "fan", old)
    with pytest.raises(AsdError, match=r"does not fit this version of asd .* train it again"):
        run_config([f"runs={tmp_path}", "name=embedding"])
    with pytest.raises(AsdError, match=r"^detector=gone\.package:Class cannot be imported"):
        stored_run({"detector": "gone.package:Class"})  # and no training mends that


@pytest.mark.parametrize("content", ["[1, 2]", "just text", "a: b: c"])
def test_a_config_file_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(AsdError, match=r"x\.yaml"):
        parse(Run, [f"config={tmp_path / 'x.yaml'}"])


def test_an_unknown_key_in_a_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("training:\n  epoch: 3\n")
    with pytest.raises(AsdError, match=r"x\.yaml: unknown key 'training.epoch': did you mean training.epochs"):
        parse(Run, [f"config={tmp_path / 'x.yaml'}"])


def test_the_name_of_the_chosen_detector_may_be_left_out() -> None:
    given = ["detector=embedding", "encoder=bottleneck", "epochs=3", "embedding.mixup=0"]
    embedding = parse(Run, given).embedding
    assert (embedding.encoder, embedding.epochs, embedding.mixup) == ("bottleneck", 3, 0.0)


def test_an_option_without_effect_is_named(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    run = parse(Run, ["training.epochs=3", "embedding.mixup=0"])
    assert run.autoencoder.training.epochs == 3
    assert "training.epochs=, embedding.mixup= has no effect with detector=statistics" in caplog.text
    caplog.clear()
    parse(Run, ["detector=autoencoder", "training.epochs=3"])
    assert not caplog.text
    (tmp_path / "a.yaml").write_text("embedding:\n  mixup: 0\n")
    parse(Run, [f"config={tmp_path / 'a.yaml'}"])
    check_options({"n_mels": 16, "embedding.mixup": 0}, "autoencoder")
    said = [f"embedding.mixup= has no effect with detector={name}" for name in ("statistics", "autoencoder")]
    assert caplog.messages == said


@pytest.mark.parametrize("name", ["a", "run-2.1", "été_№1", "a=b", "run;rm"])
def test_what_a_run_may_be_called(name: str) -> None:
    assert parse(Run, [f"name={name}"]).name == name


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "a/b", "a\\b", "a b", "a\tb", "a,b", "a:b", " a"])
def test_what_it_may_not(name: str) -> None:
    with pytest.raises(AsdError, match="does not fit: the name of a run has no spaces") as error:
        parse(Run, [f"name={name}"])
    parse(Run, [f"name={str(error.value).rpartition('try ')[2]}"])


def test_a_run_is_read_back_as_it_was_stored() -> None:
    run = parse(Run, ["detector=embedding", "epochs=3", "layers=1,2", "checkpoint=a.pt", "encoder=beats"])
    assert "autoencoder" not in run.stored()
    again = stored_run(run.stored(), machine=["fan"])
    assert again.embedding == run.embedding
    assert (again.machine, again.settings()) == (["fan"], run.settings())


def store(runs: Path, machine: str, run: Run | dict[str, Any]) -> None:
    content = run if isinstance(run, dict) else run.stored()
    path = runs / content.get("detector", "statistics") / machine / "seed0/config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(content))


def test_scoring_goes_by_the_options_of_the_machines_that_are_named(tmp_path: Path) -> None:
    for machine, rate_hz in (("fan", 16000), ("[fan]", 8000), ("pump", 32000)):
        store(tmp_path, machine, Run(sample_rate_hz=rate_hz, data=Path("d"), seeds=[0, 1], keep_going=True))
    for machine, rate_hz in (("fan", 16000), ("[fan]", 8000), ("pump", 32000)):
        found = run_config([f"runs={tmp_path}", f"machine={machine}"])
        assert (found["machine"], found["sample_rate_hz"], found["data"]) == (machine, rate_hz, "d")
        assert not {"seeds", "keep_going", "weights", "overwrite"} & found.keys()  # given anew each time
    assert "machine" not in run_config([f"runs={tmp_path}"])
    for words in ("data=e", "normal=e"):
        other = run_config([f"runs={tmp_path}", "machine=fan", words])
        assert not {"data", "normal", "abnormal", "layout", "held_out"} & other.keys()
    store(tmp_path, "saw", Run(detector="autoencoder"))
    assert run_config([f"runs={tmp_path}", "detector=autoencoder"])["machine"] == "saw"
    for words in (["name=none"], ["machine=valve"], ["config=a.yaml"], ["weights=a.pt"]):
        assert run_config([f"runs={tmp_path}", *words]) == {}


def test_a_run_of_several_data_folders_or_of_other_runs_has_no_one_configuration(tmp_path: Path) -> None:
    for machine, data in (("fan", "d"), ("pump", "e")):
        store(tmp_path, machine, Run(data=Path(data)))
    with pytest.raises(AsdError, match=r"were trained from several folders \(d, e\); say which with data= or machine="):
        run_config([f"runs={tmp_path}"])
    assert "data" not in run_config([f"runs={tmp_path}", "data=f"])
    store(tmp_path / "fused", "fan", {"members": ["statistics", "autoencoder"]})
    with pytest.raises(AsdError, match="this run is a fusion of statistics, autoencoder and has no model of its own"):
        run_config([f"runs={tmp_path / 'fused'}"])


@pytest.mark.parametrize(
    ("options", "saying"),
    [
        ({"device": "cpu"}, "device is an argument of fit and none of its options; give it beside options="),
        ({"seed": 1}, "seed is an argument of fit"),
        ({"runs": "x"}, "runs is an option of train that fit has no use for; leave it out"),
        ({"backnd": "knn"}, "unknown key 'backnd': did you mean backend"),
        (["backend"], r"options=\['backend'\] is no mapping; give names and values"),
    ],
)
def test_options_that_fit_has_no_use_for_are_refused(options: Any, saying: str) -> None:
    check_options({"backend": "knn", "decision": {"quantile": 0.5}, "residual": 0.5}, "statistics")
    check_options(None, "statistics")
    with pytest.raises(AsdError, match=saying):
        check_options(options, "statistics")


def test_json_is_a_word_though_python_needs_another_name() -> None:
    assert parse(Evaluate, ["json=out.json"]).json_ == Path("out.json")


@given(st.integers(1, 10**6), st.floats(1e-6, 10, allow_nan=False))
def test_settings_survive_being_written_as_words(epochs: int, rate: float) -> None:
    given = ["detector=autoencoder", f"training.epochs={epochs}", f"training.learning_rate={rate!r}"]
    training = parse(Run, given).autoencoder.training
    assert (training.epochs, training.learning_rate) == (epochs, rate)


def test_what_does_not_decide_the_model_is_not_in_its_settings() -> None:
    base = Run().settings()
    assert Run(runs=Path("x"), name="y", device="cpu").settings() == base


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("seed: 0\nseeds: 1", "seeds"),
        ("decision.quantile: 0.8\ndecision: {quantile: 0.5}", "decision.quantile"),
        ("backend: knn\nstatistics: {backend: gaussian}", "statistics.backend"),
    ],
)
def test_a_file_gives_an_option_once_however_it_spells_it(tmp_path: Path, text: str, key: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(AsdError, match=rf"config=.*a\.yaml gives {key} twice; keep one"):
        parse(Run, [f"config={tmp_path / 'a.yaml'}"])


def test_the_command_says_which_of_two_values_counts(caplog: pytest.LogCaptureFixture) -> None:
    assert parse(Run, ["seed=0", "machine=fan", "seeds=1", "machine=fan"]).seeds == [1]
    assert caplog.messages == ["seeds is given 2 times (seed=0, seeds=1): seeds=1 counts"]


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (Serve, ["token=hush", "token=hush-hush-hush-hush"]),
        (Serve, ["token=hush"]),
        (Listen, ["input=-", "webhook_secret=hush", "webhook_secret=hushed"]),
        (Listen, ["input=-", "webhook=https://plant.example/?key=hush", "webhook=https://plant.example/?key=hushed"]),
        (Listen, ["input=-", "mqtt=mqtt://fan:hush@broker/fans", "mqtt=mqtt://fan:hushed@broker/fans"]),
    ],
)
def test_no_message_shows_a_secret(stage: type[Settings], words: list[str], caplog: pytest.LogCaptureFixture) -> None:
    said = ""
    try:
        parse(stage, words)
    except AsdError as error:
        said = str(error)
    said += caplog.text
    assert words[-1].partition("=")[0] in said
    assert "***" in said
    assert "hush" not in said


def test_a_place_of_the_home_is_not_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/plant")
    (tmp_path / "fan.yaml").write_text("runs: ~/runs\nnormal: ~/pump\ndata: null\n")
    run = parse(Run, [f"config={tmp_path}/fan.yaml", "weights=~no-such-user/w"])
    assert run.runs == Path("/home/plant/runs")
    assert run.data_root == Path("/home/plant/pump")
    assert run.weights == Path("~no-such-user/w")
    assert parse(Submit, ["label=a", "authors=~/me.yaml"]).authors == Path("/home/plant/me.yaml")
