"""Score tables of a run with the labels of their clips: as their names tell, or as the organisers publish them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from asd.challenge.ground_truth import GroundTruth, TrueClip, read_ground_truth, without_labels
from asd.challenge.years import Unit, Year, get_year
from asd.core.storage import list_names
from asd.evaluation import completeness
from asd.evaluation.completeness import Folders, Missing, chosen_runs, is_all, require_whole
from asd.places import place_name
from asd.runs import RunDirectory, ScoreFolder, digests, find_runs, require_same_seeds, years_of
from asd.types import AsdError, Split

EvaluatedPart = Literal["dev", "eval"]
Tables = dict[str, dict[int, pd.DataFrame]]  # scorer -> seed -> score table of all machines

CLIP_COLUMNS = ["machine", "section", "domain", "label", "file"]  # agree where scores are averaged or compared


def evaluation_name(part: EvaluatedPart, data: Path | None = None) -> str:
    """Name of the files of an evaluation: each set of clips has files of its own."""
    if data is not None:
        return f"evaluation_{place_name(data)}"
    return {"dev": "evaluation", "eval": "evaluation_eval"}[part]


@dataclass(frozen=True)
class Labelled:
    """Scores that can be evaluated."""

    machines: list[str]  # sorted
    tables: Tables  # score tables of all machines together
    default: str  # the scorer that stands for the run
    untrained: dict[str, list[str]]  # sections with test clips and without training clips, by machine
    missing: list[str]  # what the run should have and these scores do not cover, in sentences
    scored: dict[str, str]  # hash of the score tables, by their folder


def labelled_scores(
    runs: Path,
    name: str,
    year: int,
    machines: Sequence[str] = completeness.ALL,
    data: Path | None = None,
    *,
    part: EvaluatedPart = "dev",
    ground_truth: Path | None = None,
    seeds: Sequence[int] = (),
) -> Labelled:
    """Scores of clips with their labels.

    Args:
        data: folder of other recordings that were scored; by default the run's own test clips.
        part: "dev": names tell the labels, and machines and sections of the year's evaluation set without any are left
            out; "eval": the organisers' labels and domains of the evaluation set stand in place of the names'.
        ground_truth: folder of the organisers' labels, by default where `data` puts it.
        seeds: which count, by default all; machines may differ in others.
    """
    found = [run for run in chosen_runs(runs, name, machines) if not seeds or run.seed in seeds]
    folders = _score_folders(found, data)
    if part == "eval":
        return _by_truth(runs / name, folders, get_year(year), ground_truth, machines)
    years = [get_year(each) for each in {year, *years_of(found)}]
    hidden = {machine for each in years for machine in each.eval} - _own_machines(folders)
    labels = {run: _has_labels(folder) for run, folder in folders.items()}
    named = [run for run in folders if labels[run] or run.machine not in hidden or not is_all(machines)]
    if not any(folder.scorers for folder in folders.values()):
        raise AsdError(f"no test clips of {runs / name} were scored; put some into test/ and `score` them")
    if not any(labels.values()):
        raise AsdError(
            f"none of the test clips of {runs / name} has a label, so there is nothing to evaluate; say part=eval "
            f"if they are those of an evaluation set"
        )
    require_same_seeds(named)
    return _whole(runs / name, {run: folders[run] for run in named}, years, machines, data is None)


def labelled_machines(runs: Path, name: str) -> list[str]:
    """Machines of a run with a labelled test clip, sorted."""
    return sorted({run.machine for run in find_runs(runs, name) if _has_labels(run.scores)})


def _whole(place: Path, folders: Folders, years: Sequence[Year], machines: Sequence[str], are_own: bool) -> Labelled:
    """Scores with the labels of names, once nothing is missing but what machine= leaves out."""
    default = next(run for run, folder in folders.items() if folder.scorers).default_scorer()
    first = {run.machine: folder.table(default) for run, folder in folders.items() if default in folder.scorers}
    own = _own_machines(folders)
    # Machines of the evaluation set may be in the same run; on other recordings, what there is was asked for.
    elsewhere = {machine for each in years for machine in {*each.eval} - {*each.dev}} - {run.machine for run in folders}
    begun = completeness.missing_runs(place.parent, place.name, machines) if are_own else []
    left_out = completeness.left_out(place.parent, place.name, machines)
    every_unit = [unit for each in years for unit in each.eval_units()]
    units = {(unit.machine, unit.section) for unit in every_unit if unit.machine not in own}
    unlabelled = completeness.missing_labels({m: _to_be_labelled(table, units) for m, table in first.items()})
    missing = [
        *(lack for lack in begun if lack[0] not in elsewhere),
        *(lack for lack in unlabelled if lack[0] not in own),
        *completeness.absent_machines(folders, left_out),
    ]
    accepted = [*_left_out(left_out), *(f"{machine} {what}" for machine, what in unlabelled if machine in own)]
    return _labelled(place, folders, default, machines, missing, accepted, lambda table: table[table["label"] != ""])


def published_truth(ground_truth: Path | None, year: int, machines: Sequence[str]) -> tuple[Path, GroundTruth]:
    """Where the organisers' labels of an evaluation set lie, and all of them; refuses machines that have none."""
    root = ground_truth or get_year(year).truth_root
    list_names(root)
    if root.is_file():
        raise AsdError(f"ground_truth={root} is a file; name the folder that it lies in")
    if not root.is_dir():
        raise AsdError(f"no ground truth in {root}: `data year={year} part=eval` fetches it, once published")
    truth = read_ground_truth(root, get_year(year))
    every = {unit.machine for unit in truth}
    if strange := sorted({*machines} - every if not is_all(machines) else ()):
        raise AsdError(f"machine={strange[0]} has no labels in {root}; it has those of {', '.join(sorted(every))}")
    return root, truth


def _by_truth(
    place: Path, folders: Folders, year: Year, ground_truth: Path | None, machines: Sequence[str]
) -> Labelled:
    """Scores of an evaluation set by the organisers' labels."""
    root, truth = published_truth(ground_truth, year.year, machines)
    every = {unit.machine for unit in truth}
    unlabelled = {*without_labels(truth, year)} & {run.machine for run in folders}
    if not is_all(machines):
        truth = {unit: clips for unit, clips in truth.items() if unit.machine in machines}
    wanted = {unit.machine for unit in truth}
    folders = {run: folder for run, folder in folders.items() if run.machine in wanted and folder.scorers}
    default = next((run.default_scorer() for run in folders), "")
    absent = _missing_units(folders, default, truth)
    if len(absent) == sum(run.machine == unit.machine for run in folders for unit in truth):
        raise AsdError(f"{place} has no scores of the sections of {', '.join(sorted(wanted))} that {root} is about")
    require_same_seeds([*folders])
    unscored = wanted - {run.machine for run in folders}
    trained = {run.machine for run in find_runs(place.parent, place.name)}
    missing = [
        *((machine, f"of {year.year} is not in the run") for machine in unscored - trained),
        *((machine, "has no scores of these recordings") for machine in unscored & trained),
        *(lack for lack in completeness.missing_runs(place.parent, place.name, machines) if lack[0] in wanted),
        *absent,
        *((machine, f"has no labels in {root}, or not of every section") for machine in unlabelled),
    ]
    accepted = _left_out(sorted(every - wanted))
    return _labelled(place, folders, default, machines, missing, accepted, lambda table: with_truth(table, truth, year))


def _left_out(machines: Sequence[str]) -> list[str]:
    return [f"{machine} is left out by machine=" for machine in machines]


def _labelled(
    place: Path,
    folders: Folders,
    default: str,
    asked: Sequence[str],
    missing: Missing,
    accepted: Sequence[str],
    label: Callable[[pd.DataFrame], pd.DataFrame],
) -> Labelled:
    """Scores with the labels of `label`, once nothing is missing but what is accepted or machine= has left out."""
    tables, machines = _tables_of(folders), sorted({run.machine for run in folders})
    missing = [*missing, *completeness.missing_scores(folders, default), *_apart(tables, default)]
    lacks = [*require_whole(place, missing, machines, asked), *accepted]
    tables = {scorer: {seed: label(table) for seed, table in by_seed.items()} for scorer, by_seed in tables.items()}
    for by_seed in tables.values():
        require_same_clips(by_seed, f"the seeds of {place}", "`score` with all of its seeds")
    found = {run.machine: data.untrained_sections for run, folder in folders.items() if (data := folder.data())}
    untrained = {machine: sections for machine, sections in found.items() if sections}
    return Labelled(machines, tables, default, untrained, lacks, digests(place, folders.values()))


def require_same_clips(tables: Mapping[Any, pd.DataFrame], what: str, way: str) -> None:
    """Refuses score tables that are not of the same clips: neither their mean nor their differences mean anything."""
    first, *others = [table[CLIP_COLUMNS].sort_values(CLIP_COLUMNS, ignore_index=True) for table in tables.values()]
    if any(not other.equals(first) for other in others):
        raise AsdError(f"{what} scored different clips; {way}")


def _tables_of(folders: Folders) -> Tables:
    """Score tables of all machines together, of the scorers that all of them have: {scorer: {seed: table}}."""
    scored = {run: folder for run, folder in folders.items() if folder.scorers}
    common = set.intersection(*({*folder.scorers} for folder in scored.values()))
    seeds = dict.fromkeys(run.seed for run in scored)

    def whole(scorer: str, seed: int) -> pd.DataFrame:
        every = [folder.table(scorer) for run, folder in scored.items() if run.seed == seed]
        return pd.concat(every, ignore_index=True)

    return {scorer: {seed: whole(scorer, seed) for seed in seeds} for scorer in sorted(common)}


def _apart(tables: Tables, default: str) -> Iterator[tuple[str, str]]:
    """Machines of which a scorer has a table of other clips or labels than the default one has, as after an edit."""
    for scorer, by_seed in tables.items() if default in tables else ():
        for seed, table in by_seed.items():
            own, others = ({*each[CLIP_COLUMNS].itertuples(index=False)} for each in (tables[default][seed], table))
            for machine in {clip[0] for clip in own ^ others}:
                yield machine, f"has other clips or labels in the scores of {scorer} than in those of {default}"


def _score_folders(runs: Sequence[RunDirectory], data: Path | None) -> dict[RunDirectory, ScoreFolder]:
    """Where the scores that are asked for lie, of each run that has them."""
    if data is None:
        return {run: run.scores for run in runs}
    folders = {run: folder for run in runs if (folder := run.scores_of(data)) is not None}
    if not folders:
        raise AsdError(f"{runs[0].path} has no scores of the recordings in {data}; `score data={data}` makes them")
    return folders


def _own_machines(folders: Folders) -> set[str]:
    """Machines whose recordings are not the challenge's, whatever they are called."""
    return {run.machine for run, folder in folders.items() if folder.is_own_data}


def _has_labels(folder: ScoreFolder) -> bool:
    """Whether any test clip has a label."""
    return any((folder.table(scorer)["label"] != "").any() for scorer in folder.scorers[:1])


def _to_be_labelled(table: pd.DataFrame, units: Collection[tuple[str, str]]) -> pd.DataFrame:
    """The rows but for sections of the evaluation set without a label, where other sections have some."""
    labelled = {*table["section"][table["label"] != ""]}
    sections = zip(table["machine"], table["section"], strict=True)
    return table.loc[[not labelled or key[1] in labelled or key not in units for key in sections]]


def _missing_units(folders: Folders, scorer: str, truth: GroundTruth) -> Missing:
    """Sections of the evaluation set of which a machine has no scores."""
    tables = [folder.table(scorer) for folder in folders.values()]
    return [
        (run.machine, f"has no scores of section {' '.join(filter(None, (unit.section, unit.domain)))}")
        for run, table in zip(folders, tables, strict=True)
        for unit in truth
        if unit.machine == run.machine and not _is_of(table, unit).any()
    ]


def with_truth(table: pd.DataFrame, truth: GroundTruth, year: Year) -> pd.DataFrame:
    """The rows of a score table that are in the evaluation set, with the labels and domains of the ground truth.

    A clip may be listed under its published name or under the one that tells its label. `AsdError` where a clip of a
    section is missing, is listed twice, or is not in the ground truth.
    """
    table = table[table["split"] == Split.TEST]
    parts = []
    for unit, clips in truth.items():
        rows = table[_is_of(table, unit)]
        if not rows.empty:
            parts.append(_joined(rows, unit, clips))
    if not parts:
        sections = ", ".join(sorted({*(table["machine"] + " " + table["section"])}))
        raise AsdError(f"the run has scores of {sections}, none of them in the evaluation set of {year.year}")
    return pd.concat(parts, ignore_index=True)


def _is_of(table: pd.DataFrame, unit: Unit) -> pd.Series[bool]:
    is_own = (table["machine"] == unit.machine) & (table["section"] == unit.section)
    return is_own if unit.domain is None else is_own & (table["domain"] == unit.domain)


def _joined(rows: pd.DataFrame, unit: Unit, clips: Sequence[TrueClip]) -> pd.DataFrame:
    published = {clip.other_name: clip.file for clip in clips if clip.other_name}
    rows = rows.assign(file=[published.get(file, file) for file in rows["file"]])
    known = {clip.file: clip for clip in clips}
    what = f"{unit.machine} section {unit.section} has {len(rows)} scores for {len(clips)} evaluation clips"
    if not rows["file"].is_unique:
        raise AsdError(f"{what}: {rows['file'][rows['file'].duplicated()].iloc[0]} is there twice")
    if strange := {*rows["file"]} - known.keys():
        raise AsdError(f"{what}: {min(strange)} is not one of them; is it the data of that year?")
    if missing := known.keys() - {*rows["file"]}:
        raise AsdError(f"{what}: {min(missing)} is missing; put it into test/ and `score` it")
    of_rows = [known[file] for file in rows["file"]]
    return rows.assign(
        label=[clip.label.value for clip in of_rows],
        domain=[clip.domain.value if clip.domain else "" for clip in of_rows],
    )
