"""The inside of `submit` and `bundle`: which machines, what the meta file says, package, archive, validation."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pandas as pd

from asd.challenge import submission
from asd.challenge.files import list_clips, list_machines
from asd.challenge.system_meta import SystemFacts, load_template, result_keys
from asd.challenge.validator import Findings, expected_files
from asd.challenge.validator import validate as check_submission
from asd.challenge.years import Unit, Year, get_year
from asd.core.files import atomic
from asd.core.runtime import log
from asd.core.storage import fetch
from asd.evaluation.completeness import ALL, declared_of, is_all, missing_runs, missing_scores, require_whole
from asd.evaluation.labelling import labelled_machines, labelled_scores
from asd.evaluation.tables import development_results, evaluate_tables
from asd.runs import RunDirectory, ScoreFolder, find_runs, warn_of_run, years_of
from asd.settings.stages import Bundle, Submit
from asd.types import AsdError, Clip, Domain, Split, named


@dataclass(frozen=True)
class Package:
    """A package or an archive: its zip (of a dry run, where it would be), what it holds and what is wrong with it."""

    zip: Path
    listing: submission.Listing
    findings: Findings
    written: bool
    is_rehearsal: bool = False  # of other clips than the evaluation set, or of a part of it

    @property
    def defects(self) -> tuple[str, ...]:
        """Its defects, in sentences."""
        return self.findings.defects

    def lines(self) -> list[str]:
        """Its files and its defects, a line each."""
        entries = [
            f"  {name}  {n_bytes} bytes" + (f", {lines} lines" if lines is not None else "")
            for name, n_bytes, lines in self.listing.entries
        ]
        total = f"  {self.listing.n_bytes} bytes zipped, sha256 {self.listing.sha256}"
        return [*entries, total, *findings_lines(self.findings)]


def findings_lines(findings: Findings) -> list[str]:
    """Defects and reminders, a line each."""
    return [*(f"  defect: {text}" for text in findings.defects), *(f"  to do: {text}" for text in findings.warnings)]


def submit(config: Submit) -> Package:
    """Packages the scores of a run and validates the package; a dry run does so in a folder that is removed then."""
    if not config.dry_run:
        return _packaged(config, config.out)
    with tempfile.TemporaryDirectory() as folder:
        done = _packaged(config, Path(folder))
    return replace(done, zip=config.out / done.zip.name, written=False)


def bundle(config: Bundle) -> Package:
    """Archives the systems of a team, and validates the archive itself; with a defect it is not written."""
    year = get_year(config.year)
    files = submission.archive_files(submission.systems_of(config.out, config.team), config.team, config.report)
    target = config.out / f"{config.team}_task2.zip"
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / target.name
        submission.write_zip(made, files)
        findings = check_submission(made, year, expected=expected_in(config.data, year), template_file=config.template)
        if config.report is None:
            reminder = "the technical report is missing: add report=FILE.pdf."
            findings = Findings(findings.defects, (*findings.warnings, reminder))
        listing = submission.list_zip(made)
        write = not config.dry_run and not findings.defects
        if write:
            with atomic(target) as temporary:
                shutil.copyfile(made, temporary)
    return Package(target, listing, findings, write)


def expected_in(data: Path | None, year: Year) -> dict[Unit, set[str]] | None:
    """The clips that a submission on the recordings under `data` must score; None for the evaluation set."""
    if data is None:
        return None
    clips = [
        clip for machine in list_machines(data) for clip in list_clips(data, machine, Split.TEST, original_names=True)
    ]
    real = _known_sections(year) & {(clip.machine, clip.section) for clip in clips}
    return expected_files([clip for clip in clips if _is_packed(clip.machine, clip.section, real)], year)


def _packaged(config: Submit, out: Path) -> Package:
    year = get_year(config.year)
    submission.check_label(config.label)
    name = config.name
    every = find_runs(config.runs, name, config.seed)
    if own := [run for run in every if run.scores.is_own_data]:
        raise AsdError(
            f"{own[0].path} holds scores of recordings that are not the challenge's, and a package holds those of its "
            f"evaluation set; score that with data=, or give another name="
        )
    warn_of_run(config.runs, name)
    runs = [run for run in every if run.seed == every[0].seed]
    if (trained := years_of(runs)) and year.year not in trained:
        every_year = " and ".join(f"year={each}" for each in trained)
        log.warning("%s was trained with %s, and this is a package of %d", config.runs / name, every_year, year.year)
    real = evaluation_sections(runs, year)
    chosen = _machines_to_submit(config, year, {run.machine for run in runs}, bool(real))
    scorer = config.scorer or runs[0].default_scorer()
    runs = [run for run in runs if run.machine in chosen]
    _require_whole(config, runs, chosen, scorer)
    table = pd.concat([run.scores.table(scorer) for run in runs])
    table = table.loc[[_is_packed(*key, real) for key in zip(table["machine"], table["section"], strict=True)]]
    fetch(runs[0].path)
    declared = {"sampling_rate_hz": runs[0].sample_rate_hz(), **declared_of(runs[0])}
    results = _development_results(config, config.development or name, scorer, year)
    if strange := sorted(declared.keys() - {field.name for field in fields(SystemFacts)}):
        log.warning("%s declares %s, which no meta file asks for; it is left out", runs[0].path, named(strange))
    declared = {key: value for key, value in declared.items() if key not in strange}
    facts = SystemFacts(**declared | {"name": name, "abbreviation": name[:10], "results": results})
    folder = submission.write_submission(
        table, facts, label=config.label, year=year, folder=out, user_file=config.authors, template_file=config.template
    )
    clips = [clip for clip in _clips_to_submit(runs, table) if _is_packed(clip.machine, clip.section, real)]
    expected = None if real and chosen == {*year.eval} else expected_files(clips, year)
    findings = check_submission(folder, year, expected=expected, template_file=config.template)
    zipped = folder.with_name(f"{folder.name}.zip")
    is_rehearsal = expected is not None
    return Package(zipped, submission.list_zip(zipped), findings, written=True, is_rehearsal=is_rehearsal)


def evaluation_sections(runs: Iterable[RunDirectory], year: Year) -> set[tuple[str, str]]:
    """Machines and sections of the year's evaluation set of which runs have scores."""
    return _known_sections(year) & {(run.machine, section) for run in runs for section in _sections(run.scores)}


def _sections(folder: ScoreFolder) -> set[str]:
    """Sections of the test clips, by the tables where the list of the clips is lost."""
    if data := folder.data():
        return data.sections
    return {section for table in folder.tables().values() for section in table["section"]}


def _known_sections(year: Year) -> set[tuple[str, str]]:
    return {(unit.machine, unit.section) for unit in year.eval_units()}


def _is_packed(machine: str, section: str, real: Collection[tuple[str, str]]) -> bool:
    """Whether a section is packaged; a machine may have been scored with sections of the development set, too."""
    return (machine, section) in real or machine not in {name for name, _ in real}


def _machines_to_submit(config: Submit, year: Year, have: set[str], is_real: bool) -> set[str]:
    """The evaluation machines of the year; in a run without any, as in a rehearsal, all that it should have."""
    if not is_all(config.machine):
        if missing := sorted({*config.machine} - have):
            raise AsdError(f"machine={missing[0]} is not in the run; it has {', '.join(sorted(have))}")
        return {*config.machine}
    if is_real and config.machine != ["all"]:
        return {*year.eval}
    why = "machine=all" if is_real else f"nothing of the evaluation set of {year.year} is in the run"
    log.warning("%s: packaging a rehearsal of %s", why, ", ".join(sorted(have)))
    return have | {machine for machine, _ in missing_runs(config.runs, config.name, ALL, config.seed)}


def _require_whole(config: Submit, runs: Sequence[RunDirectory], chosen: Collection[str], scorer: str) -> None:
    """Refuses a package that lacks machines, sections or clips, unless machine= has asked for a part."""
    have = {run.machine for run in runs}
    begun = [lack for lack in missing_runs(config.runs, config.name, ALL, config.seed) if lack[0] in chosen]
    absent = {*chosen} - have - {machine for machine, _ in begun}
    missing = [*begun, *((name, f"of {config.year} is not in the run") for name in absent)]
    missing += missing_scores({run: run.scores for run in runs}, scorer)
    require_whole(config.runs / config.name, missing, have, config.machine)


def _clips_to_submit(runs: Sequence[RunDirectory], table: pd.DataFrame) -> list[Clip]:
    """Every test clip of the runs, scored or not; those of the table where the run does not tell."""
    clips = []
    for run in runs:
        data, own = run.scores.data(), table[table["machine"] == run.machine]
        listed = data.clips if data else own[["file", "section", "domain"]].itertuples(index=False)
        for file, section, domain in listed:
            clips.append(Clip(Path(file), run.machine, section, Split.TEST, Domain(domain) if domain else None))
    return clips


def _development_results(config: Submit, name: str, scorer: str, year: Year) -> dict[str, dict[str, float]]:
    """Figures of the labelled machines for the meta file, in per cent; {} where no clip is labelled."""
    machines = labelled_machines(config.runs, name)
    if not machines:
        if config.development:
            raise AsdError(f"development={name} has no labelled test clips, so it gives no results; name another run")
        return {}
    tables = labelled_scores(config.runs, name, config.year, machines).tables
    keys = result_keys(load_template(year, config.template))
    return development_results(evaluate_tables(tables, config.year, scorer), scorer, keys)
