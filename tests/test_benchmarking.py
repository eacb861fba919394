from __future__ import annotations

from pathlib import Path

import pytest

from asd.runs import read_json
from asd.settings.config import Benchmark
from asd.stages.benchmarking import as_markdown, benchmark, read_methods
from asd.types import AsdError
from tests.machines import tone_machine

METHODS = """
"mel": detector=statistics statistics.views=mel32
"nearest": detector=statistics statistics.views=kurtosis statistics.backend=knn
"""


def test_every_method_is_a_row_and_the_oracle_is_the_best_of_them(tmp_path: Path) -> None:
    for machine in ("fan", "pump"):
        tone_machine(tmp_path / "data", machine)
    (tmp_path / "methods.yaml").write_text(METHODS)
    config = Benchmark(
        data=tmp_path / "data", methods=tmp_path / "methods.yaml", seeds=[0, 1], runs=tmp_path / "runs"
    )
    table = benchmark(config)
    assert set(table["method"]) == {"mel", "nearest", "oracle: the best per machine by test labels"}
    methods, oracle = table.iloc[:-1], table.iloc[-1]
    for machine in ("fan", "pump"):
        assert oracle[machine] == methods[machine].max()
    assert oracle["official_score"] >= methods["official_score"].max()
    assert (methods["std"] == 0).all()
    assert (methods["seconds"] > 0).all()
    evaluation = read_json(tmp_path / "runs/mel/evaluation.json")
    mel = methods.set_index("method").loc["mel"]
    assert mel["official_score"] == evaluation["scorers"]["ensemble"]["official_score"]
    assert (tmp_path / "runs/benchmark.md").read_text() == as_markdown(table)


def test_finished_methods_are_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tone_machine(tmp_path / "data")
    (tmp_path / "methods.yaml").write_text(METHODS)
    config = Benchmark(data=tmp_path / "data", methods=tmp_path / "methods.yaml", runs=tmp_path / "runs")
    first = benchmark(config)
    from asd.detectors.statistics import Statistics

    monkeypatch.setattr(Statistics, "fit", lambda *_: pytest.fail("fitted again"))
    assert benchmark(config).equals(first)


@pytest.mark.parametrize("content", ["- a list", "mel: [1, 2]", "{"])
def test_a_file_of_another_form_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "methods.yaml").write_text(content)
    with pytest.raises(AsdError, match=r"methods\.yaml"):
        read_methods(tmp_path / "methods.yaml")
