"""Methods in one table: by the real stages, in several processes, resumed; the page's table is replaced."""

from __future__ import annotations

import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest

from asd.core.files import alone, read_json
from asd.runs import RunDirectory
from asd.settings.stages import Benchmark, Evaluate
from asd.stages.benchmarking import ELSEWHERE, ORACLE, as_markdown, benchmark, read_methods, run_name
from asd.types import AsdError
from tests.command import succeeds
from tests.machines import tone_machine

METHODS = """
"mel": detector=statistics statistics.views=level_16,kurtosis
"nearest": detector=statistics statistics.views=kurtosis statistics.backend=knn
"""
MACHINES = ("fan", "pump", "valve")
BEGIN, END = "<!-- benchmark of data -->", "<!-- end -->"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with three machines, two methods and a page."""
    root = tmp_path_factory.mktemp("benchmark")
    for i, machine in enumerate(MACHINES):
        tone_machine(root / "data", machine, n_train=20 + 2 * i)
    (root / "methods.yaml").write_text(METHODS)
    (root / "page.md").write_text(f"# Page\n\n{BEGIN}\nold\n{END}\n\nThe end.\n")
    return root


@pytest.fixture
def config(place: Path, monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    monkeypatch.chdir(place)
    return Benchmark(data=Path("data"), methods=Path("methods.yaml"), seeds=[0, 1], workers=2, page=Path("page.md"))


@pytest.mark.slow
def test_every_method_is_a_row_beside_what_choosing_is_worth(config: Benchmark) -> None:
    from asd.pipeline import evaluate

    table = benchmark(config.model_copy(update={"scorers": "all", "executor": "here", "workers": 0}))
    assert {*table["method"]} == {"mel", "nearest", ELSEWHERE, ORACLE}
    methods, elsewhere, oracle = table.iloc[:-2], table.iloc[-2], table.iloc[-1]
    assert {*methods["scorer"]} == {"ensemble", "level_16", "kurtosis"}
    for machine in MACHINES:
        assert oracle[machine] == methods[machine].max()
        others = [name for name in MACHINES if name != machine]
        # both official scores are harmonic means of equally many values per machine, so those of machines order alike
        best = methods.loc[(len(others) / (1 / methods[others]).sum(axis=1)).idxmax()]
        assert elsewhere[machine] == best[machine]
    assert oracle["official_score"] >= methods["official_score"].max()
    assert (methods["worst"] == methods[[*MACHINES]].min(axis=1)).all()
    default = methods[(methods["method"] == "mel") & (methods["scorer"] == "ensemble")].iloc[0]
    assert (default["difference"], default["wins"], default["losses"]) == (0, 0, 0)
    found = evaluate(Evaluate(name="mel", runs=config.runs))["scorers"]["ensemble"]
    assert default["official_score"] == pytest.approx(found["official_score"])
    assert (methods["std"] == 0).all()
    assert (methods["seconds"] > 0).all()
    page = Path("page.md").read_text()
    assert page == f"# Page\n\n{BEGIN}\n\n{as_markdown(table)}\n{END}\n\nThe end.\n"
    assert Path("runs/benchmark/benchmark.md").read_text() == as_markdown(table)
    rows = read_json(Path("runs/benchmark/benchmark.json"))["rows"]
    assert rows[-1]["seconds"] is None  # JSON knows no NaN


@pytest.mark.slow
def test_finished_methods_are_not_trained_again(config: Benchmark) -> None:
    first = benchmark(config)
    done = {path: path.stat().st_mtime_ns for path in Path("runs/benchmark").rglob("DONE")}
    assert len(done) == 2 * 3 * 2
    pd.testing.assert_frame_equal(benchmark(config.model_copy(update={"workers": 1})), first)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    shutil.rmtree("runs/benchmark/mel/pump/seed1")  # as where a command with more seeds was stopped
    assert list(benchmark(config.model_copy(update={"seeds": [0]}))["method"]) == list(first["method"])


@pytest.mark.slow
def test_two_commands_wait_for_each_other(config: Benchmark) -> None:
    own = config.model_copy(update={"runs": Path("runs/two"), "machine": ["fan"], "seeds": [0], "page": None})
    with ThreadPoolExecutor() as pool, ExitStack() as held:
        held.enter_context(alone(Path("runs/two/nearest/fan")))  # as the other does while it trains
        held.enter_context(RunDirectory.of(Path("runs/two"), "nearest", "fan", 0).alone())
        table = pool.submit(benchmark, own)
        while not Path("runs/two/mel/fan/seed0/DONE").exists():
            time.sleep(0.1)
        with pytest.raises(TimeoutError):
            table.result(timeout=2)
        held.close()
        assert {"mel", "nearest"} < {*table.result()["method"]}


@pytest.mark.slow
def test_methods_are_measured_anew_where_recordings_have_changed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(place / "data/fan", "data/fan")
    config = Benchmark(data=Path("data"), methods=place / "methods.yaml", seeds=[0], executor="here")
    before = benchmark(config)
    first, second, *_ = sorted(Path("data/fan/train").glob("*.wav"))
    first.write_bytes(second.read_bytes())
    with pytest.raises(AsdError, match=r"on other clips; .*overwrite=true"):
        benchmark(config)
    assert not benchmark(config.model_copy(update={"overwrite": True})).equals(before)
    benchmark(config)


@pytest.mark.slow
def test_a_network_of_ones_own_is_compared_as_its_page_says(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[1] / "docs/pretrained.md").read_text()
    [network] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    [methods] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    [command] = re.findall(r"^    python -m asd (benchmark .*)$", page, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    Path("mynet.py").write_text(network)
    Path("methods.yaml").write_text(methods)
    words = command.replace("DIR", str(place / "data")).split()
    said = succeeds(*words, "machine=fan", "seeds=0", "executor=here").out
    assert "my network" in said
    assert "| default " in said


@pytest.mark.slow
def test_a_machine_with_a_comma_in_its_name_is_measured(tmp_path: Path) -> None:
    tone_machine(tmp_path / "data", "a, b")
    (tmp_path / "methods.yaml").write_text(METHODS)
    places = {"data": tmp_path / "data", "methods": tmp_path / "methods.yaml", "runs": tmp_path / "runs"}
    table = benchmark(Benchmark(**places, seeds=[0], machine=["a, b"]))
    assert "a, b" in table
    assert ELSEWHERE not in {*table["method"]}  # of one machine there is none to choose on
    assert table["leave_one_out"].isna().all()
    assert (tmp_path / "runs/mel/a, b/seed0/DONE").exists()


@pytest.mark.slow
def test_of_recordings_of_ones_own_the_measure_is_called_by_its_name(place: Path, tmp_path: Path) -> None:
    for clip in sorted((place / "data/fan").rglob("*.wav")):
        folder = "abnormal" if "anomaly" in clip.name else "normal"
        (tmp_path / "own/fan" / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, tmp_path / "own/fan" / folder / f"{clip.parent.name} {clip.name.removeprefix('section_')}")
    (tmp_path / "methods.yaml").write_text(METHODS)
    chosen = {"methods": tmp_path / "methods.yaml", "seeds": [0], "executor": "here", "runs": tmp_path / "runs"}
    own = benchmark(Benchmark(data=tmp_path / "own", **chosen))
    assert {*own["rule"]} == {"plain"}
    assert "| AUC and pAUC |" in as_markdown(own)
    by_year = benchmark(Benchmark(data=tmp_path / "own", year=2020, **chosen))
    assert "| official score |" in as_markdown(by_year)
    assert by_year["official_score"].to_list() == own["official_score"].to_list()


def test_a_value_with_blanks_stands_in_quotes(tmp_path: Path) -> None:
    path = tmp_path / "methods.yaml"
    path.write_text("""'net': detector=embedding embedding.checkpoint="my models/net.pt"\n""")
    assert read_methods(path) == {"net": ["detector=embedding", "embedding.checkpoint=my models/net.pt"]}
    path.write_text("""'net': detector=embedding embedding.checkpoint="my models/net.pt\n""")
    with pytest.raises(AsdError, match=r"No closing quotation.*; close the quote"):
        read_methods(path)


@pytest.mark.slow
def test_the_first_method_is_the_reference_of_any_choice(config: Benchmark) -> None:
    Path("two.yaml").write_text(METHODS + '"net": detector=autoencoder training.epochs=1\n')
    chosen = {"methods": Path("two.yaml"), "detectors": ["autoencoder"], "scorers": "all", "page": None, "seeds": [0]}
    table = benchmark(config.model_copy(update=chosen))
    of_net, of_first = table[table["method"] == "net"], table[table["method"] == "mel"]
    assert {"mse", "mahalanobis"} <= {*of_net["scorer"]}
    assert list(of_first["scorer"]) == ["ensemble"]
    assert "nearest" not in {*table["method"]}
    difference = of_net["official_score"] - of_first["official_score"].item()
    assert of_net["difference"].to_list() == pytest.approx(difference.to_list())


@pytest.mark.slow
def test_a_method_that_fails_is_named_when_the_others_are_done(config: Benchmark) -> None:
    Path("failing.yaml").write_text('"good": detector=statistics\n"bad": detector=statistics weights=none.pt\n')
    runs, page = Path("runs/failing"), Path("page.md").read_text()
    saying = r"^3 failed:\n  bad on fan \(weights=none\.pt goes with `score`.*\nthe table of .*differences to good, is"
    with pytest.raises(AsdError, match=re.compile(saying, re.DOTALL)):
        benchmark(config.model_copy(update={"methods": Path("failing.yaml"), "runs": runs, "reference": "bad"}))
    assert len([*runs.glob("good/*/*/DONE")]) == 6
    table = pd.read_csv(runs / "benchmark.csv")
    assert list(table["method"]) == ["good", ELSEWHERE, ORACLE]
    assert table[[*MACHINES]].notna().all(axis=None)
    assert "\n3 failed:\n  bad on fan" in (runs / "benchmark.md").read_text()
    assert Path("page.md").read_text() == page
    Path("failing.yaml").write_text('"bad": detector=statistics weights=none.pt\n')
    with pytest.raises(AsdError, match="there is no new table; the same command"):
        benchmark(config.model_copy(update={"methods": Path("failing.yaml"), "runs": runs}))
    pd.testing.assert_frame_equal(pd.read_csv(runs / "benchmark.csv"), table)


FRAGILE = """
import os, signal
from tests.loudness import Loudness

class Fragile(Loudness):
    def fit(self, recordings):
        machine = recordings.clips[0].machine
        if machine == "fan":
            os.kill(os.getpid(), signal.SIGKILL)
        if machine == "pump":
            raise ZeroDivisionError("nothing to divide by")
        super().fit(recordings)
"""


@pytest.mark.slow
def test_a_process_that_is_lost_costs_its_machine_and_no_other(
    config: Benchmark, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Path("fragile.py").write_text(FRAGILE)
    monkeypatch.syspath_prepend(Path.cwd())
    Path("fragile.yaml").write_text('"odd": detector=fragile:Fragile\n"good": detector=tests.loudness:Loudness\n')
    runs = Path("runs/fragile")
    saying = r"2 failed: fan \(its process was killed by signal 9.*; odd on pump \(ZeroDivisionError: nothing"
    with pytest.raises(AsdError, match=saying):
        benchmark(config.model_copy(update={"methods": Path("fragile.yaml"), "runs": runs}))
    assert len([*runs.glob("odd/valve/*/DONE")]) == 2
    table = pd.read_csv(runs / "benchmark.csv")  # fan has no method, and odd lacks pump
    assert list(table["method"]) == ["good", ELSEWHERE, ORACLE]
    assert "fan" not in table
    assert table[["pump", "valve"]].notna().all(axis=None)
    assert "fan: its process was killed by signal 9" in caplog.text


def test_wrong_words_are_refused_before_anything_is_done(config: Benchmark) -> None:
    runs = Path("runs/none")
    Path("odd.yaml").write_text('"good": detector=statistics\n"odd": detector=statistics nonsense=1\n')
    Path("magic.yaml").write_text("odd: detector=statistics statistics.backend=magic\n")
    Path("absent.yaml").write_text("odd: detector=embedding embedding.encoder=tests.nowhere:Net\n")
    for word in ("name=x", "year=2020", "overwrite=true", "executor=ray", "workers=2"):
        Path(f"{word[:4]}.yaml").write_text(f"odd: detector=statistics {word}\n")
    for changed, saying in (
        ({"methods": Path("odd.yaml")}, "nonsense"),
        ({"methods": Path("magic.yaml")}, "backend=magic is unknown"),
        ({"methods": Path("absent.yaml")}, "encoder=tests.nowhere:Net cannot be imported"),
        ({"methods": Path("none.yaml")}, r"none\.yaml does not exist; write a file of `label: detector="),
        ({"methods": Path("name.yaml")}, r"name\.yaml: name=x of odd is the same for all methods"),
        ({"methods": Path("year.yaml")}, "year=2020 of odd is the same for all methods"),
        ({"methods": Path("over.yaml")}, "overwrite=true of odd is the same for all methods"),
        ({"methods": Path("exec.yaml")}, "executor=ray of odd is the same for all methods"),
        ({"methods": Path("work.yaml")}, "workers=2 of odd is the same for all methods"),
        ({"machine": ["lathe"]}, "machine='lathe' is not under"),
        ({"detectors": ["embedding"]}, "detectors=embedding have no method among the 2"),
        ({"reference": "nobody"}, "reference='nobody' is no method"),
        ({"page": Path("gone.md")}, "page=gone.md cannot be read"),
        ({"page": Path("methods.yaml")}, "has no place for the table; add the lines <!-- benchmark of data -->"),
    ):
        with pytest.raises(AsdError, match=saying):
            benchmark(config.model_copy(update={"runs": runs, **changed}))
    with pytest.raises(AsdError, match="no ground truth in none: `data year=2025 part=eval` fetches it"):
        benchmark(config.model_copy(update={"runs": runs, "part": "eval", "ground_truth": Path("none")}))
    shutil.copytree("data/fan", "normal/fan", ignore=shutil.ignore_patterns("*anomaly*"))
    with pytest.raises(AsdError, match="fan has no test clips labelled normal and anomaly; leave it out"):
        benchmark(config.model_copy(update={"runs": runs, "data": Path("normal"), "page": None}))
    shutil.copytree("data/fan", "source/fan", ignore=shutil.ignore_patterns("*target_test*"))
    with pytest.raises(AsdError, match="fan section 00 has no test clips labelled normal of the target domain"):
        benchmark(config.model_copy(update={"runs": runs, "data": Path("source"), "page": None}))
    shutil.copytree("data/fan", "taken/rule")
    with pytest.raises(
        AsdError, match="the machine rule has the name of another column of the table; rename its folder"
    ):
        benchmark(config.model_copy(update={"runs": runs, "data": Path("taken"), "page": None}))
    assert not runs.exists()


def test_labels_of_any_script_name_runs(tmp_path: Path) -> None:
    (tmp_path / "methods.yaml").write_text("手法 一: x=1\n手法 二: x=2\nA (b_c): x=3\n")
    assert [run_name(label) for label in read_methods(tmp_path / "methods.yaml")] == ["手法-一", "手法-二", "a-b-c"]


@pytest.mark.parametrize("content", ["- a list", "mel: [1, 2]", "{", "", "a b: x=1\na-b: x=2", "'!': x=1"])
def test_a_file_of_another_form_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "methods.yaml").write_text(content)
    with pytest.raises(AsdError, match=r"methods\.yaml"):
        read_methods(tmp_path / "methods.yaml")
