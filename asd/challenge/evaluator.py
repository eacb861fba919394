"""Evaluates submissions as the organisers do: folders of CSVs in, the official result files out.

    submission CSVs + ground truth ─► score table ─► metrics, confidence intervals ─► result files

The result files equal those of the organisers' scripts of 2020 to 2024 cell for cell, in a small part of
their time; 2025 and 2026 follow 2024. Where the scripts crash or pass over a defect, one sentence names it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asd.challenge.csv_files import csv_text, read_numbers
from asd.challenge.ground_truth import GroundTruth, TrueClip, read_ground_truth, without_labels
from asd.challenge.result_files import Row, SystemResult, official_score_rows, paper_rows, result_rows
from asd.challenge.submission import Kind, kinds, output_name
from asd.challenge.years import Unit, Year, get_year
from asd.core.files import write_text
from asd.core.runtime import log
from asd.evaluation.confidence import bootstrap_official_score, ci95_jackknife, ci95_official_compat
from asd.evaluation.score_table import read_sections
from asd.metrics import auc, evaluate_table
from asd.types import SCORE_COLUMNS, AsdError, Label, Split, in_utf8

_OURS = re.compile(r"(anomaly_score|decision_result)_.*\.csv")


def evaluate_submissions(submission: Path, ground_truth: Path, year: int, out: Path) -> dict[str, Any]:
    """Evaluate one system or several, and write the official result files into `out`.

    Args:
        submission: one system's folder of CSVs, or a folder of such folders. A folder's name is the system's.
        ground_truth: folder of the organisers' evaluator, see `ground_truth`.
        year: year of the challenge.
        out: folder for `<system>_result.csv` (2020: `result_<system>.csv`) and, from 2023 on,
            `official_score.csv` and `official_score_paper.csv`. Nothing is written unless all is well.

    Returns:
        {"year": year, "systems": {name: {"official_score": x, "machines": as in `metrics.Evaluation`,
        "official_score_ci95_bootstrap": [low, high], "pooled_ci95_jackknife": half-width,
        "pooled_ci95_official_compat": half-width}}}; `asd.evaluation.confidence` tells the last three apart.

    Raises:
        AsdError: a defect of the submission or the ground truth; the sentence names the file.
    """
    rules = get_year(year)
    truth = read_ground_truth(ground_truth, rules)
    if lacking := without_labels(truth, rules):
        log.warning(
            f"{ground_truth} has no labels of {', '.join(lacking)}, or not of every section, so this is not the "
            f"official score of {year}: complete it, or say another year="
        )
    results: list[SystemResult] = []
    report: dict[str, Any] = {}
    for folder in _system_folders(submission, out):
        table = read_submission(folder, truth, rules)
        result = _evaluate(in_utf8(os.path.basename(os.path.abspath(folder))), table, truth, year)
        results.append(result)
        report[result.name] = {
            **result.evaluation,
            "official_score_ci95_bootstrap": list(bootstrap_official_score(table, year)),
            "pooled_ci95_jackknife": ci95_jackknife(table["label"] == Label.ANOMALY, table["score"]),
            "pooled_ci95_official_compat": result.ci95_official_compat,
        }
    for name, rows in _result_files(results, rules).items():
        write_text(out / name, csv_text(rows))
    return {"year": year, "systems": report}


def read_submission(folder: Path, truth: GroundTruth, year: Year) -> pd.DataFrame:
    """One system's folder of CSVs as a score table (`types.SCORE_COLUMNS`), rows as in the ground truth.

    Args:
        folder, truth, year: of one system, its test clips with their labels, and whose file names and rules hold.

    Raises:
        AsdError: a file is missing or belongs to no unit of the ground truth, or holds anything but one
            finite score, or one decision 0 or 1, per test clip.
    """
    paths = _submission_files(folder, truth, year)
    tables = []
    for unit, clips in truth.items():
        columns = {kind: _read_values(paths[kind, unit], kind, clips) for kind in kinds(year)}
        tables.append(
            pd.DataFrame(
                {
                    "machine": unit.machine,
                    "section": unit.section,
                    "domain": [clip.domain for clip in clips],
                    "split": Split.TEST.value,
                    "label": [clip.label.value for clip in clips],
                    "file": [clip.file for clip in clips],
                    "score": columns["anomaly_score"],
                    "decision": columns.get("decision_result", np.nan),
                },
                columns=list(SCORE_COLUMNS),
            )
        )
    return pd.concat(tables, ignore_index=True)


def _system_folders(submission: Path, out: Path) -> list[Path]:
    """The folders of systems, sorted by name: `submission` itself if it holds CSVs, otherwise those in it."""
    if not submission.is_dir():
        raise AsdError(f"submission={submission} is not a folder: give a folder of CSVs, or a folder of such")
    if any(_OURS.fullmatch(path.name) for path in submission.iterdir()):
        return [submission]
    folders = sorted(
        path
        for path in submission.iterdir()
        if path.is_dir()
        and not path.name.startswith((".", "__MACOSX"))
        and os.path.realpath(path) != os.path.realpath(out)
    )
    if not folders:
        raise AsdError(f"submission={submission} holds neither anomaly_score_*.csv nor a folder of them")
    if len(folders) == 1 and not any(_OURS.fullmatch(path.name) for path in folders[0].iterdir()):
        return _system_folders(folders[0], out)  # such as task2/ of an archive
    return folders


def _submission_files(folder: Path, truth: GroundTruth, year: Year) -> dict[tuple[Kind, Unit], Path]:
    """Where each score and decision file of a system is; every one exists, and there are no others."""
    present = {path.name for path in folder.iterdir() if _OURS.fullmatch(path.name)}
    names = {(kind, unit): output_name(kind, unit, year) for kind in kinds(year) for unit in truth}
    for (kind, unit), name in names.items():
        if name not in present and year.year >= 2023:
            names[kind, unit] = _baseline_name(folder, present, kind, unit, year) or name
    for name in sorted(present - set(names.values())):
        near = difflib.get_close_matches(name, names.values(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"is year={year.year} right?"
        raise AsdError(f"{folder / name} is no file of a submission to this ground truth: {hint}")
    for name in names.values():
        if name not in present:
            raise AsdError(f"{folder / name} is missing: {year.year} needs {len(names)} files per system")
    return {key: folder / name for key, name in names.items()}


def _baseline_name(folder: Path, present: set[str], kind: Kind, unit: Unit, year: Year) -> str | None:
    """The file of a unit under the name that the official baseline gives it, accepted since 2023."""
    stem = f"{kind}_DCASE{year.year}T2{unit.machine}_section_{unit.section}_test_seed"
    found = sorted(name for name in present if name.startswith(stem) and name.endswith("_Eval.csv"))
    if len(found) > 1:
        raise AsdError(f"{folder} holds {found[0]} and {found[1]} for one section: keep one of them")
    return found[0] if found else None


def _read_values(path: Path, kind: Kind, clips: Sequence[TrueClip]) -> list[float]:
    """The number of each clip, in the order of `clips`, from a CSV that lists each of them once."""
    numbers = read_numbers(path)
    by_file: dict[str, float] = {}
    published = {clip.other_name: clip.file for clip in clips if clip.other_name}
    for name, number in numbers.items():
        if not np.isfinite(number):
            raise AsdError(f"{path} has the value {number} for {name}: give a finite number")
        file = published.get(name, name)
        if kind == "decision_result" and number not in (0, 1):
            raise AsdError(f"{path} has the decision {number} for {file}: give 0 or 1")
        if file in by_file:
            raise AsdError(f"{path} lists {file} twice, once as {name}: delete one")
        by_file[file] = number
    wanted = [clip.file for clip in clips]
    rows = f"{path} has {len(by_file)} rows for {len(wanted)} test clips"
    if unknown := by_file.keys() - set(wanted):
        raise AsdError(f"{rows}: {min(unknown)} is not one of them")
    if missing := set(wanted) - by_file.keys():
        raise AsdError(f"{rows}: {min(missing)} is missing")
    return [by_file[file] for file in wanted]


def _evaluate(name: str, table: pd.DataFrame, truth: GroundTruth, year: int) -> SystemResult:
    evaluation = evaluate_table(table, year)
    official_order = dict.fromkeys(unit.machine for unit in truth)
    evaluation["machines"] = {machine: evaluation["machines"][machine] for machine in official_order}
    sections = read_sections(table, with_domains=get_year(year).rule != "per_id")
    plain_auc = {(s.machine, s.section): auc(s.is_anomaly, s.scores) for s in sections}
    ci95 = ci95_official_compat(table["label"] == Label.ANOMALY, table["score"])
    return SystemResult(name, evaluation, plain_auc, ci95)


def _result_files(results: Sequence[SystemResult], year: Year) -> dict[str, list[Row]]:
    """File name -> rows."""
    pattern = "result_{}.csv" if year.year == 2020 else "{}_result.csv"
    files = {pattern.format(result.name): result_rows(result, year) for result in results}
    if year.year >= 2023:
        files["official_score.csv"] = official_score_rows(results, year)
        files["official_score_paper.csv"] = paper_rows(results, year)
    return files
