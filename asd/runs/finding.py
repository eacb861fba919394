"""Which runs there are: complete ones, those that were begun, that are out of date, and that do not go together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from asd.core.files import read_json
from asd.core.runtime import log
from asd.core.storage import fetch
from asd.places import check_listed
from asd.runs.directory import RunDirectory, TrainingDirectory
from asd.runs.scores import ScoreFolder
from asd.types import AsdError

T = TypeVar("T", bound=TrainingDirectory)


def run_names(runs: Path) -> list[str]:
    """Names of the runs of which something is complete, sorted; what begins with a dot is none.

    One that may not be looked into as a whole is among them: who opens it is told.
    """
    fetch(runs, without="model")
    return _names(runs, lambda name: directories_with(RunDirectory, runs / name, "DONE"))


def machine_names(runs: Path, name: str) -> list[str]:
    """Machines of a run whose training was begun at least, sorted; one that may not be looked into is among them."""
    root = _opened(runs, name)
    return _names(root, lambda machine: directories_with(RunDirectory, root, "", machine))


def _names(root: Path, held: Callable[[str], Sequence[RunDirectory]]) -> list[str]:
    """Names of the folders that hold something, or that nobody can say it of."""

    def is_one(name: str) -> bool:
        try:
            return bool(held(name))
        except AsdError:
            return True

    check_listed(root)
    folders = root.iterdir() if root.is_dir() else ()
    return sorted(place.name for place in folders if place.name[0] != "." and place.is_dir() and is_one(place.name))


def find_runs(runs: Path, name: str, seed: int | None = None, machine: str | None = None) -> list[RunDirectory]:
    """All complete runs of a name, or those of one seed or machine, sorted by machine and seed."""
    if seed is not None and not hasattr(seed, "__index__"):  # such as "0", which is none of the seeds
        raise AsdError(f"seed={seed!r} is no whole number; write it as in seed=0")
    root = _opened(runs, name)
    every = directories_with(RunDirectory, root, "DONE", machine)
    found = [run for run in every if seed is None or run.seed == seed]
    originals: dict[tuple[str, str], RunDirectory] = {}
    for run in found:
        original = originals.setdefault((run.machine, run.done().get("fingerprint", str(run.path))), run)
        if original is not run or run.seed not in run.config().get("seeds", [run.seed]):
            raise AsdError(
                f"{run.path} is a copy of a training with another seed, not one of its own; remove it, and train with "
                f"seeds={run.seed} for one more seed"
            )
    if not found:
        raise _none_found(root, seed, machine, every)
    return found


def _opened(runs: Path, name: str) -> Path:
    """The folder of a run."""
    root = runs / name
    fetch(root, without="model")
    check_listed(root)
    if root.is_file():
        raise AsdError(f"{root} is a file, and a run is a folder; name one that train wrote, such as runs/statistics")
    if not root.is_dir():
        names = ", ".join(sorted(p.name for p in runs.glob("*") if p.is_dir() and p.name[0] != ".")) or "none yet"
        raise AsdError(f"{root} does not exist (runs there: {names}); `train machine=... name={name}` makes it")
    return root


def _none_found(root: Path, seed: int | None, machine: str | None, every: Sequence[RunDirectory]) -> AsdError:
    """Why a run has nothing complete of a seed or machine, where `every` seed of the machine is known."""
    if machine is not None and not directories_with(RunDirectory, root, "", machine):
        names = ", ".join(dict.fromkeys(run.machine for run in find_runs(root.parent, root.name, seed)))
        return AsdError(f"{root} has no machine {machine}; it has {names}")
    if machine is None and (inner := run_names(root)):
        return AsdError(f"{root} is a folder of runs; name one of them: {', '.join(inner)}")
    wanted = f" with seed={seed} (there are: {', '.join(str(run.seed) for run in every)})" if every else ""
    place = root if machine is None else root / machine
    return AsdError(f"{place} holds no complete run{wanted}; start the same train or enroll again: it resumes")


def directories_with(kind: type[T], root: Path, file: str, name: str | None = None) -> list[T]:
    """The directories <name>/seed<k> under `root` that hold a file ("": any), of one name or all, by path and seed."""
    check_listed(root)
    folders = [folder for folder in (root.iterdir() if root.is_dir() else ()) if name in (None, folder.name)]
    for folder in folders:
        check_listed(folder)
    places = [place for folder in folders for place in folder.glob("seed*") if place.name[4:].isdecimal()]
    for place in places:
        check_listed(place)  # none is to be missing without a word
    found = [kind(place) for place in places if (place / file).exists()]
    return sorted(found, key=lambda run: (run.path.parent, run.seed))


def years_of(runs: Iterable[RunDirectory]) -> list[int]:
    """The challenge years that runs, or the members of fused ones, were trained with, sorted."""
    return sorted({year for run in runs for year in run.years()})


def begun_runs(runs: Path, name: str) -> list[RunDirectory]:
    """Runs of a name that were begun and are not complete, sorted by machine and seed."""
    done = {*directories_with(RunDirectory, runs / name, "DONE")}
    return [run for run in directories_with(RunDirectory, runs / name, "config.yaml") if run not in done]


def require_same_seeds(runs: Sequence[RunDirectory]) -> None:
    """Raises AsdError unless every machine was trained with the same seeds."""
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(run.machine, []).append(run.seed)
    if len({tuple(value) for value in seeds.values()}) > 1:
        listing = "; ".join(f"{machine} {','.join(map(str, s))}" for machine, s in seeds.items())
        raise AsdError(f"the machines have different seeds ({listing}); train the missing ones, then go on")


def warn_of_run(runs: Path, name: str) -> None:
    """Names what is to be known of a run whose results are used: older than its scores, or of other options."""
    complete = directories_with(RunDirectory, runs / name, "DONE")
    _warn_of_stale(runs, name, complete)
    _warn_of_other_options(runs / name, complete)


def _warn_of_stale(runs: Path, name: str, complete: Sequence[RunDirectory]) -> None:
    """Names recordings that are others since they were scored, and what was made of scores that are others since."""
    place = runs / name
    evaluated, ranked = (f"`{stage}` with the same options writes it anew" for stage in ("evaluate", "leaderboard"))
    # What was made, the file whose "scored" holds the hash of each folder of scores by its path, where paths begin, and
    # how to make it anew.
    made = [(path, path, place, evaluated) for path in sorted(place.glob("evaluation*.json"))]
    made += [(place / "report.html", path, place, "`report` writes it anew") for path in place.glob("report.json")]
    pictures = sorted(place.rglob("explain/scored.json"))
    made += [(path.parent, path, place, "`explain` writes them anew") for path in pictures]
    made += [(run.path, run.path / "DONE", runs, "fuse anew with overwrite=true") for run in complete]
    made += [(path, path, runs, ranked) for path in sorted(runs.glob("leaderboard*.json"))]
    for machine, run in {run.path.parent: run for run in complete}.items():  # all seeds have the same clips
        if changes := run.scores.changes():
            more = f" (and so have {len(changes) - 1} more)" if len(changes) > 1 else ""
            log.warning("%s since the scores of %s were made%s; `score` makes them anew", changes[0], machine, more)
    for what, file, root, way in made:
        scored = read_json(file).get("scored", {})
        if changed := [path for path, digest in scored.items() if ScoreFolder(root / path).digest() != digest]:
            log.warning("%s is of earlier scores: those in %s are others since; %s", what, root / changed[0], way)


def _warn_of_other_options(place: Path, complete: Sequence[RunDirectory]) -> None:
    """Names machines of a run that were trained with other options: one configuration is to serve every machine."""
    machines: dict[int, dict[str, list[str]]] = {}  # by seed and options
    for run in complete:
        try:
            settings = run.fit_facts().get("settings")
        except AsdError as error:  # results of the other machines do not need it
            log.warning("%s", error)
            continue
        if settings:  # a fusion has none
            machines.setdefault(run.seed, {}).setdefault(settings, []).append(run.machine)
    for seed in sorted(machines):
        first, *others = machines[seed].values()
        if others:
            log.warning(
                f"{place}: {others[0][0]} of seed {seed} was trained with other options than {first[0]}: a score over "
                f"both is of no single configuration; train one of them anew with overwrite=true, or under another name"
            )
            return
