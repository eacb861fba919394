"""The organisers' result files, cell for cell: metrics of systems -> rows. No file is touched here.

`result_rows` gives `<system>_result.csv` of every year, `official_score_rows` and `paper_rows` the two files
that the evaluators add from 2023 on. A quirk of the official scripts is reproduced, and marked "Quirk".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asd.challenge.years import Year
from asd.evaluation.score_table import FloatArray
from asd.metrics import Evaluation, SectionMetrics, harmonic_mean
from asd.types import Domain

Row = list[str | float]

_COLUMNS = ["AUC", "pAUC", "precision", "recall", "F1 score"]
_PAPER_TITLES = ("AUC (source)", "AUC (target)", "pAUC (source, target)")
_OVER_ALL = " over all machine types, sections, and domains"
_DOMAINS = tuple(domain.value for domain in Domain)

# Column order of official_score.csv where it is not alphabetical.
_MACHINE_ORDER = {
    2024: "3DPrinter AirCompressor Scanner ToyCircuit HoveringDrone HairDryer ToothBrush RoboticArm BrushlessMotor"
}


@dataclass(frozen=True)
class SystemResult:
    """What the result files say about one system."""

    name: str
    evaluation: Evaluation  # with decisions, except in 2020; machines in the order of the official files
    plain_auc: dict[tuple[str, str], float]  # (machine, section) -> AUC of all its clips
    ci95_official_compat: float

    def machine(self, machine: str) -> list[SectionMetrics]:
        """The metrics of each section of a machine."""
        return list(self.evaluation["machines"][machine].values())

    def sections(self) -> list[SectionMetrics]:
        """The metrics of each section of each machine."""
        return [metrics for machine in self.evaluation["machines"] for metrics in self.machine(machine)]

    def mean_over_sections(self, machine: str, metric: str) -> float:
        """Arithmetic mean of one metric over the sections of a machine."""
        return float(np.mean([metrics[metric] for metrics in self.machine(machine)]))


def result_rows(system: SystemResult, year: Year) -> list[Row]:
    """Rows of `<system>_result.csv` (2020: `result_<system>.csv`)."""
    if year.rule == "per_id":
        return _rows_by_id(system)
    rows: list[Row] = []
    for machine in system.evaluation["machines"]:
        sections = system.machine(machine)
        # Quirk: 2022 splits at half the number of sections instead of half the columns: with its three sections,
        # "source" is the source of the first section alone, and "target" the other sources and all targets.
        n_source = len(sections) // 2 if year.year == 2022 else len(sections)
        rows += [[machine], *_section_rows(system, machine, year), *_mean_rows(sections, n_source), []]
    every = system.sections()
    rows += [["", "", *_COLUMNS], *_mean_rows(every, len(every), _OVER_ALL), []]
    rows += [["official score", "", system.evaluation["official_score"]]]
    if year.rule == "mixed":
        rows += [["official score ci95", "", system.ci95_official_compat]]
    return [*rows, []]


def _rows_by_id(system: SystemResult) -> list[Row]:
    rows: list[Row] = []
    for machine, sections in system.evaluation["machines"].items():
        rows += [[machine], ["id", "AUC", "pAUC"]]
        rows += [[section, metrics["auc"], metrics["pauc"]] for section, metrics in sections.items()]
        means = [system.mean_over_sections(machine, metric) for metric in ("auc", "pauc")]
        rows += [["Average", *means], []]
    return rows


def _section_rows(system: SystemResult, machine: str, year: Year) -> list[Row]:
    """Header and one row per section (2021: and domain) of a machine, and the header of the means."""
    sections = system.evaluation["machines"][machine]
    if year.rule == "per_domain":
        by_domain: list[Row] = [
            [section, domain, *_domain_values(metrics, domain)]
            for domain in _DOMAINS
            for section, metrics in sections.items()
        ]
        return [["section", "domain", *_COLUMNS], *by_domain]
    header: Row = ["section", "AUC (all)", "AUC (source)", "AUC (target)", "pAUC"]
    header += [f"{name} ({domain})" for name in _COLUMNS[2:] for domain in _DOMAINS]
    rows = [header]
    for section, metrics in sections.items():
        values = [metrics[f"{name}_{d}"] for name in ("precision", "recall", "f1") for d in _DOMAINS]
        areas = [metrics["auc_source"], metrics["auc_target"], metrics["pauc"]]
        rows.append([section, system.plain_auc[machine, section], *areas, *values])
    return [*rows, ["", "", *_COLUMNS]]


def _domain_values(metrics: SectionMetrics, domain: str) -> list[float]:
    """The five columns of one section and domain; from 2022 on, both domains share one pAUC."""
    pauc = metrics["pauc"] if "pauc" in metrics else metrics[f"pauc_{domain}"]
    others = [metrics[f"{name}_{domain}"] for name in ("precision", "recall", "f1")]
    return [metrics[f"auc_{domain}"], pauc, *others]


def _matrix(sections: Sequence[SectionMetrics]) -> FloatArray:
    """The five columns of all sections, (5, 2 * n_sections): all sources, then all targets.

    Contiguous along its rows, for numpy then sums them as in the scripts since 2022, to the last bit.
    """
    return np.array([_domain_values(metrics, domain) for domain in _DOMAINS for metrics in sections]).T.copy()


def _mean_rows(sections: Sequence[SectionMetrics], n_source: int, suffix: str = "") -> list[Row]:
    """The four rows of means of the five columns; the first `n_source` values of each count as those of the source."""
    values = _matrix(sections)
    return [
        [f"arithmetic mean{suffix}", "", *values.mean(axis=-1).tolist()],
        [f"harmonic mean{suffix}", "", *harmonic_mean(values).tolist()],
        [f"source harmonic mean{suffix}", "", *harmonic_mean(values[:, :n_source]).tolist()],
        [f"target harmonic mean{suffix}", "", *harmonic_mean(values[:, n_source:]).tolist()],
    ]


def official_score_rows(systems: Sequence[SystemResult], year: Year) -> list[Row]:
    """Rows of official_score.csv: one per system, its means and the AUC of each machine and domain."""
    machines = _official_order(systems[0], year)
    header: Row = ["", "official score", "arithmetic mean", "harmonic mean (source)", "harmonic mean (target)"]
    header += [f"{machine} AUC ({domain})" for domain in _DOMAINS for machine in machines]
    rows = [header]
    for system in systems:
        areas = _matrix(system.sections())[0]  # AUC alone
        source, target = np.split(areas, 2)
        values = [areas.mean(), harmonic_mean(source), harmonic_mean(target)]
        values += [system.mean_over_sections(m, f"auc_{domain}") for domain in _DOMAINS for m in machines]
        rows.append([system.name, system.evaluation["official_score"], *map(float, values)])
    return rows


def paper_rows(systems: Sequence[SystemResult], year: Year) -> list[Row]:
    """Rows of official_score_paper.csv: four per system, the parts of the official score and their total."""
    machines = _official_order(systems[0], year)
    rows: list[Row] = [["System", "metric", "h-mean", "a-mean", *machines]]
    for system in systems:
        areas, paucs = _matrix(system.sections())[:2]
        source, target = np.split(areas, 2)
        parts = {"auc_source": source, "auc_target": target, "pauc": paucs}  # each pAUC stands twice in `paucs`
        for (metric, values), title in zip(parts.items(), _PAPER_TITLES, strict=True):
            means = [float(harmonic_mean(values)), float(values.mean())]
            of_machines = [system.mean_over_sections(machine, metric) for machine in machines]
            rows.append([system.name, title, *means, *of_machines])
        total = float(np.concatenate([source, target, paucs[: source.size]]).mean())
        official = system.evaluation["official_score"]
        rows.append([system.name, "TOTAL score", official, total, *("" for _ in machines)])
    return rows


def _official_order(system: SystemResult, year: Year) -> list[str]:
    known = _MACHINE_ORDER.get(year.year, "").split()
    machines = system.evaluation["machines"]
    return sorted(machines, key=lambda name: known.index(name) if name in known else len(known))
