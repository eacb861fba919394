"""What a run should have and lacks: machines, seeds, sections, clips, labels, scorers, each by its name.

An official score over a part of a run is another number. So it is given for the machines that are named; without
names, whatever is missing is an error that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from asd.challenge.files import list_machines
from asd.challenge.installed import installed_records
from asd.challenge.years import YEARS, Sections, get_year
from asd.core.files import read_json
from asd.core.runtime import log
from asd.options import join_names
from asd.places import mirrored
from asd.runs import RunDirectory, ScoreFolder, begun_runs, find_runs
from asd.types import AsdError, Split, named

ALL = ("all",)
NAMED = 3  # machines, clips or sections that a sentence names

Missing = list[tuple[str, str]]  # machines, and what they lack as the ends of sentences
Folders = Mapping[RunDirectory, ScoreFolder]  # whose scores are looked at


def chosen_runs(runs: Path, name: str, machines: Sequence[str], seed: int | None = None) -> list[RunDirectory]:
    """Complete runs of a name: all, or those of the machines that are named."""
    found = find_runs(runs, name, seed)
    if is_all(machines):
        return found
    have = {run.machine for run in found}
    if unknown := [machine for machine in machines if machine not in have]:
        raise AsdError(f"machine={unknown[0]} is not in the run {runs / name}; it has {', '.join(sorted(have))}")
    return [run for run in found if run.machine in machines]


def is_all(machines: Sequence[str]) -> bool:
    """Whether the option machine= names none in particular."""
    return tuple(machines) in (ALL, ("auto",))


def require_whole(place: Path, missing: Missing, have: Iterable[str], machines: Sequence[str]) -> list[str]:
    """What is missing, in sentences; refuses a part of a run, unless machine= has asked for it: then it warns."""
    every = sorted(dict.fromkeys(missing), key=lambda lack: lack[0])  # what several seeds lack is said once
    sentences = [f"{machine} {what}" for machine, what in every]
    if not sentences or not is_all(machines):
        for machine, what in every:
            if machine in machines:
                log.warning("%s is not whole: %s %s", place, machine, what)
        return sentences
    whole = sorted({*have} - {machine for machine, _ in every}) or sorted(have)
    raise AsdError(
        f"{place} is not whole: {'; '.join(sentences)}; train or score what is missing, or say which machines "
        f"shall count with machine={join_names(whole)}"
    )


def missing_runs(runs: Path, name: str, machines: Sequence[str], seed: int | None = None) -> Missing:
    """Machines and seeds that were to be trained and are not complete; of one seed, or of all."""
    begun = begun_runs(runs, name)
    every = [*find_runs(runs, name), *begun]
    asked = {machine for run in every for machine in _asked(run)} if is_all(machines) else set()
    untrained = asked - {run.machine for run in every}
    missing = [(machine, "was to be trained with the others and is not in the run") for machine in untrained]
    return missing + [
        (run.machine, f"seed {run.seed} was begun and is not complete (the same train or enroll resumes)")
        for run in begun
        if (is_all(machines) or run.machine in machines) and seed in (None, run.seed)
    ]


def missing_scores(folders: Folders, scorer: str) -> Missing:
    """Scores, sections, clips and scorers that should be there, and tables that should not."""
    strays = {run: _strays(folder) for run, folder in folders.items()}
    every = {name for run, folder in folders.items() for name in {*folder.scorers} - strays[run]}
    if every and scorer not in every:
        raise AsdError(f"the run has no scores of scorer={scorer}; it has {', '.join(sorted(every))}")
    what = "which no scorer has written and which would count as one (move it)"
    missing = [(run.machine, f"has {folders[run].path}/{name}.csv, {what}") for run in strays for name in strays[run]]
    return missing + [(run.machine, what) for run, folder in folders.items() for what in _lacks(folder, scorer, every)]


def _strays(folder: ScoreFolder) -> set[str]:
    """Tables of a folder that were not written with the others: each of those has a threshold, where that is known."""
    known = folder.thresholds().keys() if folder.has_thresholds() else {*folder.scorers}
    return {*folder.scorers} - known


def _lacks(folder: ScoreFolder, scorer: str, scorers: set[str]) -> Iterator[str]:
    """What the scores of a run lack of what they should have, as the ends of sentences."""
    if not folder.scorers:
        yield "has no scores of test clips"
    elif absent := sorted(scorers - {*folder.scorers}):
        yield f"has no scores of scorer={named(absent, NAMED)}"
    elif (data := folder.data()) is None:
        yield f"lacks {folder.path}/clips.json, which lists its test clips"
    else:
        if untested := sorted({*data.trained_sections} - data.sections):
            yield f"has no test clips of section {named(untested, NAMED)}, which it was trained on"
        table = folder.table(scorer)
        test = table.loc[table["split"] == Split.TEST, ["file", "section", "domain"]]
        scored = {*test.itertuples(index=False, name=None)}
        if absent := [clip[0] for clip in data.clips if clip not in scored]:
            yield f"lacks scores of {len(absent)} of {len(data.clips)} test clips ({named(absent, NAMED)})"
        if strange := sorted(file for file, _, _ in scored - {*data.clips}):
            yield f"has scores that are of none of its test clips: {len(strange)} ({named(strange, NAMED)})"


def declared_of(run: RunDirectory) -> dict[str, Any]:
    """What a submission declares of a run; that of a run that was trained is one of the files of its model."""
    run.check_model()
    path, way = run.model / "facts.json", "fuse anew with overwrite=true"
    if not (facts := read_json(path, way)):
        raise AsdError(f"{path} is missing; {way}")
    return facts


def missing_labels(tables: Mapping[str, pd.DataFrame]) -> Missing:
    """Test clips without a label, of each machine's table."""
    missing = []
    for machine, table in tables.items():
        test = table[table["split"] == Split.TEST]
        if unknown := test["file"][test["label"] == ""].tolist():
            what = f"has no label for {len(unknown)} of {len(test)} test clips ({named(unknown, NAMED)})"
            missing.append((machine, what))
    return missing


def _asked(run: RunDirectory) -> list[str]:
    """The machines that the training of a run was asked for."""
    asked: list[str] = run.config().get("machine") or []
    if asked != ["all"]:
        return asked
    root = run.data_root()
    return list_machines(root) if root is not None and root.is_dir() else []


def absent_machines(folders: Folders, left_out: Iterable[str]) -> Missing:
    """Machines that were published with those of a run, where its recordings are the challenge's, and are not in it."""
    have = {run.machine for run in folders} | {*left_out}
    missing: Missing = []
    for root in {data.root for folder in folders.values() if (data := folder.data())}:
        year, wanted = _published_in(mirrored(root)) or (0, {})
        if have & {*wanted}:
            missing += [(name, f"of {year} is not in the run") for name in {*wanted} - have]
    return missing


def left_out(runs: Path, name: str, machines: Sequence[str]) -> list[str]:
    """Machines of a run that machine= does not name."""
    if is_all(machines):
        return []
    every = {run.machine for run in (*find_runs(runs, name), *begun_runs(runs, name))}
    return sorted(every - {*machines})


def _published_in(root: Path) -> tuple[int, Sections] | None:
    """The year whose set lies in a folder, by its manifests or its place, and its machines; None: data of one's own."""
    filled_from = installed_records(root)
    for year in map(get_year, YEARS):
        sets = {year.dev_root: ({year.records.dev}, year.dev)}
        sets[year.eval_root] = ({year.records.eval_train, year.records.eval_test}, year.eval)
        for place, (records, machines) in sets.items():
            if records & filled_from or (not filled_from and root.resolve() == place.resolve()):
                return year.year, machines
    return None
