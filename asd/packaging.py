"""The inside of the stage `submit`: which machines, what the meta file says, package, validation."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from asd.challenge.submission import check_label, write_submission
from asd.challenge.system_meta import SystemFacts, load_template, result_keys
from asd.challenge.validator import Findings, expected_files
from asd.challenge.validator import validate as check_submission
from asd.challenge.years import Year, get_year
from asd.config import DEFAULT_DETECTOR, Submit
from asd.core.runtime import log
from asd.report.evaluation import development_results, evaluate_tables
from asd.runs import RunDirectory, clips_of, find_runs, read_config, read_json, tables_of
from asd.types import AsdError


def package(config: Submit) -> tuple[Path, Findings]:
    """Packages the scores of a run as a challenge submission and validates the package."""
    year = get_year(config.year)
    check_label(config.label)
    name = config.name or DEFAULT_DETECTOR
    every = find_runs(config.runs, name, config.seed)
    runs = [run for run in every if run.seed == every[0].seed]
    chosen = _machines_to_submit(config, year, runs)
    scorer = config.scorer or runs[0].default_scorer()
    table = pd.concat([run.table(scorer) for run in runs if run.machine in chosen])
    facts = SystemFacts(
        name=name,
        abbreviation=name[:10],
        sampling_rate_hz=read_config(runs[0])["sample_rate_hz"],
        results=_development_results(config, name, scorer, year),
        **read_json(runs[0].model / "facts.json"),
    )
    folder = write_submission(
        table,
        facts,
        label=config.label,
        year=year,
        folder=config.out,
        user_file=config.authors,
        template_file=config.template,
    )
    expected = None if chosen == set(year.eval) else expected_files(clips_of(table), year)
    return folder, check_submission(folder, year, expected=expected, template_file=config.template)


def _machines_to_submit(config: Submit, year: Year, runs: list[RunDirectory]) -> set[str]:
    """The evaluation machines of the year; in a run without any, as in a rehearsal, all of its machines."""
    have = {run.machine for run in runs}
    if config.machine not in (["auto"], ["all"]):
        if missing := sorted(set(config.machine) - have):
            raise AsdError(f"machine={missing[0]} is not in the run; it has {', '.join(sorted(have))}")
        return set(config.machine)
    official = have & set(year.eval)
    if official and config.machine == ["auto"]:
        return official
    log.warning(
        "no evaluation machine of %d is in the run: packaging a rehearsal of %s",
        year.year,
        ", ".join(sorted(have)),
    )
    return have


def _development_results(config: Submit, name: str, scorer: str, year: Year) -> dict[str, dict[str, float]]:
    """Figures of the labelled machines for the meta file, in per cent; {} where no clip is labelled."""
    runs = [run for run in find_runs(config.runs, name) if run.is_labelled()]
    if not runs:
        return {}
    keys = result_keys(load_template(year, config.template))
    return development_results(evaluate_tables(tables_of(runs), config.year, scorer), scorer, keys)
