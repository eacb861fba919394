"""The study of reuse: cells through the real stages, tables with and without."""

from __future__ import annotations

from pathlib import Path

import pytest

from asd.studies import reuse
from asd.studies.config import Reuse
from asd.studies.reuse import METHODS, SCORERS, WITHOUT, cells, run_cell, sections, write_report
from asd.types import AsdError
from tests.command import refuses
from tests.machines import tone_machine

SMALL = {"machines": ["fan"], "train_source": 10, "train_target": 2, "test_per_cell": 2, "duration_s": 0.6}


def result(official: float, *machines: float) -> dict[str, object]:
    by_machine = {f"m{i}": value for i, value in enumerate(machines)}
    return {"official": {"knn": official}, "machines": {"knn": by_machine}, "seconds": 2.0}


def test_a_cell_scores_machines_once(tmp_path: Path) -> None:
    settings = {
        "machines": SMALL,
        "words": cells(Reuse())["synthetic/ema"]["words"],
        "seed": 0,
        "device": "cpu",
        "epochs": 1,
        "segment_samples": 9600,
    }
    folder = tmp_path / "reuse/synthetic/ema/seed0"
    found = run_cell(settings, folder)
    assert found["official"].keys() == found["machines"].keys() == {*SCORERS}
    assert all(0 < score <= 100 for score in found["official"].values())
    done = tmp_path / "reuse/runs/synthetic/seed0/ema/fan/seed0/DONE"
    before = done.stat().st_mtime_ns
    assert run_cell(settings, folder)["official"] == found["official"]
    assert done.stat().st_mtime_ns == before
    text = write_report(tmp_path / "report", {"synthetic/ema": [found]})
    assert "ema" in text


def test_a_table_has_paired_differences_and_counts_machines() -> None:
    results = {
        "recorded/bottleneck": [result(50, 40, 60), result(60, 50, 70)],
        "recorded/ema": [result(53, 45, 61), result(61, 49, 73)],
    }
    (section,) = sections(results)
    assert section.head == ["recorded machines", "without", "knn", "difference", "higher", "s"]
    assert section.rows == [
        ["bottleneck", "", "55.0 ± 7.1", "", "", "2"],
        ["ema", "bottleneck", "57.0 ± 5.7", "+2.0 ± 1.4", "3 of 4", "2"],
    ]


def test_every_method_is_accepted_and_differs_from_the_one_without() -> None:
    from asd.settings.config import Run
    from asd.settings.parsing import parse

    words = {name: cells(Reuse())[f"recorded/{name}"]["words"] for name in METHODS}
    runs = {name: parse(Run, ["detector=embedding", *words[name]]).settings() for name in METHODS}
    assert all(runs[name] != runs[WITHOUT] for name in METHODS if name != WITHOUT)
    assert len(cells(Reuse())) == 2 * len(METHODS)


def test_other_recordings_are_other_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tone_machine(tmp_path / "data", n_train=6, n_target=1, n_test=1)
    asked: list[dict[str, dict[str, object]]] = []
    monkeypatch.setattr(reuse, "run_grid", lambda cells, *_: asked.append(cells) or {})
    monkeypatch.setattr(reuse, "write_report", lambda *_: "")
    for _ in range(2):
        reuse.run(Reuse(data=tmp_path / "data"))
        first, second, *_ = sorted((tmp_path / "data").rglob("*test_normal*.wav"))
        first.write_bytes(second.read_bytes())
    before, after = asked
    assert {key.split("/")[0] for key in before if before[key] != after[key]} == {"recorded"}


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(AsdError, match="methods=magic is unknown; there are bottleneck, ema"):
        cells(Reuse(methods=["magic"]))


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        ("embedding.activity=true", "activity=true weighs the windows of embedding.encoder=bottleneck"),
        ("embedding.ema_decay=1", "ema_decay"),
    ],
)
def test_words_that_cannot_work_are_a_sentence(place: Path, words: str, saying: str) -> None:
    tone_machine(place / "data", n_train=6, n_target=1, n_test=1)
    refuses("train", "machine=all", "data=data", "detector=embedding", *words.split(), saying=saying)
