"""A year in one go, on a stand-in: fetched, measured on both sets of machines, and beside published scores."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pytest

from asd.settings.stages import Reproduce
from asd.stages.benchmarking import read_methods
from asd.stages.reproducing import read_published, reproduce
from asd.types import AsdError
from tests.archive_server import serving
from tests.command import asd, refuses, succeeds
from tests.miniature_year import publish_year

CONFIGS = Path(__file__).parents[1] / "configs"
METHODS = '"level": detector=statistics statistics.views=level_64,kurtosis\n'
PUBLISHED = """
2023:
  - {system: "a winner", part: eval, score: 66.24, source: "a page"}
  - {system: "levels", part: eval, score: 50.0, ours: "level / kurtosis", source: "a paper"}
"""


@pytest.mark.slow
def test_one_command_fetches_measures_and_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("methods.yaml").write_text(METHODS)
    Path("published.yaml").write_text(PUBLISHED)
    words = ["year=2023", "machine=fan,ToyDrone", "methods=methods.yaml", "published=published.yaml", "seeds=0"]
    with serving() as server:
        small = {"train_source": 8, "train_target": 2, "test_per_cell": 2, "duration_s": 0.5}
        publish_year(server, 2023, Path("clips"), dev=["fan"], evaluation=["ToyDrone"], **small)
        said = succeeds("reproduce", *words, *server.words).out
        # at an address the same is fetched, trained and written anew
        there = ("runs=memory://reproduced", "data=memory://year", "executor=here")
        said_there = succeeds("reproduce", *words, *server.words, *there).out
        written = fsspec.filesystem("memory").cat_file("/reproduced/2023/reproduce.md").decode()
        assert said_there.startswith(written)
        assert "written to memory://reproduced/2023/reproduce.md" in said_there
    page = Path("runs/reproduce/2023/reproduce.md").read_text()
    assert page in said
    assert "## Development machines of 2023" in page
    assert "## Evaluation machines of 2023" in page
    # what evaluate says of the same run by the published labels stands in the table
    succeeds("evaluate", "name=level", "runs=runs/reproduce/2023/eval", "year=2023", "part=eval",
             "machine=ToyDrone", "scorer=kurtosis", "json=found.json")  # fmt: skip
    row = next(line for line in page.splitlines() if line.startswith("| levels "))
    found = json.loads(Path("found.json").read_text())["scorers"]["kurtosis"]["official_score"]
    assert float(row.split("|")[4]) == pytest.approx(100 * found, abs=0.005)
    winner = next(line for line in page.splitlines() if line.startswith("| a winner"))
    assert [cell.strip() for cell in winner.split("|")[3:6]] == ["66.24", "", ""]
    left_out = [line for line in page.splitlines() if line.startswith("Ours of")]
    assert left_out[0].startswith(
        "Ours of dev lack ToyCar, ToyTrain, bearing, gearbox, slider, valve and do not compare"
    )
    assert left_out[1].startswith("Ours of eval lack ToyNscale, ToyTank, Vacuum, bandsaw, grinder, shaker and do not")
    # the server is gone: nothing is fetched or trained again
    again = succeeds("reproduce", *words, *server.words).out
    assert again == said
    Path("methods.yaml").write_text(METHODS.replace("level_64", "level"))
    refuses("reproduce", *words, *server.words, saying="or train anew with overwrite=true")
    anew = succeeds("reproduce", *words, *server.words, "overwrite=true").out
    assert "| level " in anew
    assert anew != said
    # what fails on one set of machines keeps no other method and no other set from being measured
    with Path("methods.yaml").open("a") as file:
        file.write('"coded": detector=statistics statistics.index=ivfpq\n')
    for part in ("dev", "eval"):
        Path(f"runs/reproduce/2023/{part}/benchmark.md").unlink()
    answer = asd("reproduce", *words, *server.words)
    assert answer.code == 2
    assert "error: Development machines: 1 failed: coded on fan (index=ivfpq takes 10,000 vectors" in answer.err
    assert "; Evaluation machines: 1 failed: coded on ToyDrone (index" in answer.err
    assert "| level " in Path("runs/reproduce/2023/eval/benchmark.md").read_text()


def test_what_is_published_is_shown_beside_a_method_that_there_is() -> None:
    methods, of_beats = (read_methods(CONFIGS / f"{name}.yaml") for name in ("reproduce", "reproduce_beats"))
    published = read_published(CONFIGS / "published.yaml")
    assert [*published] == [*range(2020, 2027)]
    page = (CONFIGS.parent / "docs/benchmark.md").read_text()
    for year, rows in published.items():
        for row in rows:
            label = row.ours.split(" / ")[0]
            assert label in {*methods, *of_beats}
            assert 40 < row.score < 100
            words = f"year={year}" + (" methods=configs/reproduce_beats.yaml" if label in of_beats else "")
            cells = (year, row.system, row.part, f"{row.score:.2f}", row.source)
            assert f"| {' | '.join(map(str, cells))} | `make reproduce {words}` | `{row.ours}` |" in page


@pytest.mark.parametrize(
    "content",
    [
        "[1]",
        "2024: [{system: x}]",
        "2024: [{system: x, part: test, score: 1, source: y}]",
        "2024: [{system: x, part: dev, score: high, source: y}]",
        "2024: [{system: x, part: dev, score: 1, source: y, ours: [level]}]",
        "'2024': [{system: x, part: dev, score: 1, source: y}]",
    ],
)
def test_another_form_is_refused_before_anything_is_fetched(tmp_path: Path, content: str) -> None:
    (tmp_path / "published.yaml").write_text(content)
    (tmp_path / "methods.yaml").write_text(METHODS)
    config = Reproduce(published=tmp_path / "published.yaml", methods=tmp_path / "methods.yaml")
    with pytest.raises(AsdError, match=r"published=.*(is no list of|holds no key)"):
        reproduce(config)


def test_a_method_that_train_refuses_is_named_before_anything_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "published.yaml").write_text(PUBLISHED)
    (tmp_path / "methods.yaml").write_text('"level": statistics.bakend=knn\n')
    config = Reproduce(
        published=tmp_path / "published.yaml", methods=tmp_path / "methods.yaml", data=tmp_path / "data", archive="none"
    )
    with pytest.raises(AsdError, match=r"methods\.yaml: level: unknown key .*did you mean backend\?"):
        reproduce(config)
    assert not (tmp_path / "data").exists()
