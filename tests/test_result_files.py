"""Layout of the official result files and their quirk, on invented metrics with telling values.

That the files equal the organisers' own is shown in `test_evaluator.py`.
"""

from __future__ import annotations

import pytest
from scipy.stats import hmean

from asd.challenge.result_files import Row, SystemResult, official_score_rows, paper_rows, result_rows
from asd.challenge.years import get_year
from asd.metrics import SectionMetrics


def invented(start: float, per_domain: bool) -> SectionMetrics:
    names = [f"{n}_{d}" for n in ("auc", "precision", "recall", "f1") for d in ("source", "target")]
    names += ["pauc_source", "pauc_target"] if per_domain else ["pauc"]
    return {name: start + i / 100 for i, name in enumerate(names)}


def make_system(year: int, machines: str, n_sections: int) -> SystemResult:
    sections = [f"{i:02d}" for i in range(n_sections)]
    metrics = {
        machine: {s: invented(0.5 + i / 10 + j / 7, year == 2021) for j, s in enumerate(sections)}
        for i, machine in enumerate(machines.split())
    }
    plain_auc = {(machine, section): 0.55 for machine in metrics for section in sections}
    return SystemResult("A", {"official_score": 0.6, "machines": metrics}, plain_auc, 1e-5)


def row(rows: list[Row], title: str) -> Row:
    return next(row for row in rows if row and row[0] == title)


@pytest.mark.parametrize(("n_sections", "n_sources"), [(2, 1), (3, 1), (4, 2)])
def test_quirk_of_2022_takes_half_the_sections_for_the_source(n_sections: int, n_sources: int) -> None:
    system = make_system(2022, "fan", n_sections)
    sources, targets = ([m[f"auc_{d}"] for m in system.sections()] for d in ("source", "target"))
    rows = result_rows(system, get_year(2022))
    assert row(rows, "source harmonic mean")[2] == pytest.approx(hmean(sources[:n_sources]))
    assert row(rows, "target harmonic mean")[2] == pytest.approx(hmean([*sources[n_sources:], *targets]))
    everything = row(rows, "source harmonic mean over all machine types, sections, and domains")
    assert everything[2] == pytest.approx(hmean(sources))  # the quirk is in the rows of a machine only


@pytest.mark.parametrize("year", [2021, 2023])
def test_other_years_take_all_sources(year: int) -> None:
    system = make_system(year, "fan", 3)
    for domain in ("source", "target"):
        values = [metrics[f"auc_{domain}"] for metrics in system.sections()]
        rows = result_rows(system, get_year(year))
        assert row(rows, f"{domain} harmonic mean")[2] == pytest.approx(hmean(values))


@pytest.mark.parametrize(
    ("year", "widths"),
    [(2021, [1, *[7] * 5, *[7] * 4, 0, *[7] * 5, 0, 3, 0]), (2024, [1, *[11] * 3, *[7] * 5, 0, *[7] * 5, 0, 3, 3, 0])],
)
def test_rows_of_a_machine_with_two_sections(year: int, widths: list[int]) -> None:
    rows = result_rows(make_system(year, "fan", 2), get_year(year))
    assert [len(row) for row in rows] == widths


def test_machines_of_2024_stand_in_the_official_order() -> None:
    system = make_system(2024, "3DPrinter AirCompressor Scanner ToyCircuit unlisted", 1)
    order = ["3DPrinter", "AirCompressor", "Scanner", "ToyCircuit", "unlisted"]
    shuffled = make_system(2024, "3DPrinter AirCompressor ToyCircuit Scanner unlisted", 1)
    assert paper_rows([shuffled], get_year(2024))[0][4:] == order
    rows = official_score_rows([system, shuffled], get_year(2024))
    assert rows[0][5:10] == [f"{machine} AUC (source)" for machine in order]
    assert len(rows) == 3


def test_paper_rows_hold_parts_and_total() -> None:
    system = make_system(2025, "fan valve", 1)
    rows = paper_rows([system], get_year(2025))
    parts = ("auc_source", "auc_target", "pauc")
    for metric, cells in zip(parts, rows[1:4], strict=True):
        values = [metrics[metric] for metrics in system.sections()]
        assert cells[2:] == pytest.approx([hmean(values), sum(values) / 2, *values])
    every = [metrics[metric] for metrics in system.sections() for metric in parts]
    assert rows[4] == ["A", "TOTAL score", 0.6, pytest.approx(sum(every) / 6), "", ""]
