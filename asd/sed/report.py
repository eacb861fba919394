"""The analysis report of several models: one folder with report.md, report.json, tables as CSV, figures as PNG."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from asd.core.runtime import atomic
from asd.runs import write_json, write_text
from asd.sed.report_figures import classes_figure, reliability_figure
from asd.sed.report_findings import findings
from asd.sed.report_numbers import Networks, summarise
from asd.sed.report_text import as_markdown, class_table, figure_name, overall_table


def write_report(
    networks: Networks,
    folder: Path,
    baseline: str,
    *,
    title: str = "Sound event detection: analysis",
    facts: Mapping[str, Mapping[str, str]] | None = None,
    threshold: float = 0.5,
) -> str:
    """Writes all files of the report, each whole or not at all; the findings, as text for the terminal.

    Args:
        networks: {"student": {model: {data set: Predictions}}, "teacher": ...}, all with the same models and data.
        folder: where to; made if need be.
        baseline: the model that the others are compared with.
        title: heading.
        facts: what there is to know of each model (checkpoint, configuration, time, device).
        threshold: above which a probability is a yes.

    Raises:
        AsdError: predictions that do not fit together, or a place that cannot be written.
    """
    summary = summarise(networks, baseline, threshold)
    said = findings(summary)
    for network, by in summary["found"].items():
        for dataset, models in by.items():
            figures = {
                "reliability": reliability_figure(f"{dataset}, {network}", models),
                "classes": classes_figure(f"{dataset}, {network}", models, baseline),
            }
            for kind, figure in figures.items():
                with atomic(folder / figure_name(kind, network, dataset)) as temporary:
                    figure.savefig(temporary, format="png", dpi=110)
    tables = {
        "overall": overall_table(summary),
        "classes": class_table(summary),
        "differences": pd.DataFrame(summary["differences"]),
        "networks": pd.DataFrame(summary["networks"]),
    }
    for name, table in tables.items():
        if len(table):
            write_text(folder / f"{name}.csv", table.to_csv(index=False))
    write_json(folder / "report.json", _without_nan({**summary, "facts": facts or {}, "findings": said}))
    write_text(folder / "report.md", as_markdown(summary, facts or {}, title))
    lines = [
        line
        for dataset, sentences in said.items()
        for line in (dataset, *(f"  {each}" for each in sentences))
    ]
    return "\n".join([*lines, "", f"written: {folder / 'report.md'}, report.json, CSV and PNG beside it"])


def _without_nan(value: Any) -> Any:
    """The same with null for what is not defined: NaN is no JSON."""
    if isinstance(value, Mapping):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
