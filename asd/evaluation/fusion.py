"""Scores of several runs, on one scale by training scores, averaged per clip.

Test scores are never used to scale: a clip's fused score does not depend on which other clips are scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asd.core.files import atomic, remove, write_json
from asd.core.runtime import fingerprint
from asd.core.storage import fetch, publish, withdraw
from asd.evaluation.completeness import NAMED, chosen_runs, declared_of, missing_runs, missing_scores, require_whole
from asd.evaluation.score_table import FloatArray
from asd.options import join_names
from asd.runs import RunDirectory, ScoredData, digests, directories_with, require_same_seeds, years_of
from asd.scoring.threshold import ScoreNormalizer, fit_threshold
from asd.types import AsdError, named

SCORER = "fused"

_LISTED = (
    "front_end", "acoustic_features", "embeddings", "machine_learning_method", "aggregation_method",
    "data_augmentation", "domain_generalization_method", "attribute_usage", "decision_making", "external_data_usage",
)  # fmt: skip
_CLIP_COLUMNS = ["section", "domain", "file"]  # names a clip within a machine


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a fusion and the scorer taken from it; several seeds of a run are one member."""

    runs: Sequence[RunDirectory]
    scorer: str


def fuse_runs(
    runs: Path,
    members: list[str],
    name: str,
    *,
    machines: list[str],
    method: str,
    decision: dict[str, Any],
    overwrite: bool,
) -> list[RunDirectory]:
    """Writes the fused run runs/<name>/<machine>/seed0 of every machine of the members, each RUN or RUN:SCORER.

    Each member has to have these machines, or with ["all"] those that any has; a decision is given to `fit_threshold`.
    """
    found = {member: _whole_runs(runs, member, machines) for member in members}
    shared = _shared_machines(found)
    if name in {member.partition(":")[0] for member in members}:
        raise AsdError(f"name={name} is one of the members; choose another name")
    fetch(runs / name, without="model")
    earlier = directories_with(RunDirectory, runs / name, "")  # also those that lost a file
    if earlier and not overwrite:
        raise AsdError(f"{runs / name} exists; choose another name=, or overwrite=true to replace it")
    fused = []
    for machine in shared:
        parts = []
        for member, every in found.items():
            own = [run for run in every if run.machine == machine]
            parts.append(Member(own, member.partition(":")[2] or own[0].default_scorer()))
        _refuse_doubled([*found], parts)
        sources = [run for part in parts for run in part.runs]
        fused.append((RunDirectory.of(runs, name, machine, 0), sources, fuse(parts, method)))
    with ExitStack() as stack:  # what is replaced stays until all is written aside
        for run, sources, (test, training) in fused:
            new, years = RunDirectory(stack.enter_context(atomic(run.path))), years_of(sources)
            known: dict[str, Any] = {"year": years[0]} if len(years) == 1 else {"years": years}
            rate_hz = sources[0].sample_rate_hz()
            new.write_config({"members": [*members], "method": method, "sample_rate_hz": rate_hz, **known})
            _write(new, sources, test, training, decision)
        for old in earlier:  # machines and seeds of the run that is replaced would pass for fused ones
            withdraw(old.path)
            remove(old.path)
    for run, _, _ in fused:
        publish(run.path)
    return [run for run, _, _ in fused]


def _write(
    run: RunDirectory,
    sources: Sequence[RunDirectory],
    test: pd.DataFrame,
    training: pd.DataFrame,
    decision: dict[str, Any],
) -> None:
    """Completes a fused run: training scores and facts in place of a model, scores with decisions, and DONE."""
    threshold = fit_threshold(training["score"].to_numpy(float), **decision, scorer=f"{SCORER} of {run.machine}")
    test["decision"] = threshold.decide(test["score"].to_numpy(float))
    with atomic(run.model) as folder:
        folder.mkdir()
        training.rename(columns={"score": SCORER}).to_csv(folder / "training_scores.csv", index=False)
        write_json(folder / "facts.json", _facts(sources))
    run.scores.write({SCORER: test}, {SCORER: asdict(threshold)}, _scored_data(sources))
    scored = digests(sources[0].path.parents[2], [source.scores for source in sources])
    facts = {"default": SCORER, "scorers": [SCORER], "scored": scored, "seconds": 0.0}
    run.finish(fingerprint(run.config(), test["score"].tolist()), **facts)


def _whole_runs(folder: Path, member: str, machines: Sequence[str]) -> list[RunDirectory]:
    """The runs of a member, of the machines that are asked for."""
    name, _, scorer = member.partition(":")
    runs = chosen_runs(folder, name, machines)
    missing = missing_runs(folder, name, machines)
    missing += missing_scores({run: run.scores for run in runs}, scorer or runs[0].default_scorer())
    require_whole(folder / name, missing, {run.machine for run in runs}, machines)
    require_same_seeds(runs)
    for run in runs:
        fetch(run.path)  # with its model, which knows the scores of training clips, and what a submission declares
        run.check_model()
    return runs


def _refuse_doubled(names: Sequence[str], members: Sequence[Member]) -> None:
    """Two names may mean the same scores: a run, and its default scorer."""
    first: dict[tuple[Path, str], str] = {}
    for name, member in zip(names, members, strict=True):
        if (other := first.setdefault((member.runs[0].path, member.scorer), name)) != name:
            raise AsdError(f"members {other} and {name} are the same scores, which would count twice; leave one out")


def _shared_machines(found: Mapping[str, Sequence[RunDirectory]]) -> list[str]:
    """The machines of all members, sorted; a member that lacks one of another's is refused."""
    machines = {member: {run.machine for run in runs} for member, runs in found.items()}
    shared, every = set.intersection(*machines.values()), set.union(*machines.values())
    if shared == every:
        return sorted(shared)
    if not shared:
        raise AsdError(f"members={','.join(found)} have no machine in common")
    member = next(name for name, have in machines.items() if have != every)
    raise AsdError(
        f"{member} has no {named(sorted(every - machines[member]), NAMED)}, which another member has; train it, or "
        f"fuse what all members have with machine={join_names(sorted(shared))}"
    )


def _scored_data(runs: Sequence[RunDirectory]) -> ScoredData | None:
    """What the runs scored; a section counts as trained on where every run was trained on it."""
    known = [data for run in runs if (data := run.scores.data())]
    if len(known) < len(runs):
        return None
    trained = set.intersection(*({*data.trained_sections} for data in known))
    return replace(known[0], trained_sections=tuple(sorted(trained)))


def _facts(runs: Sequence[RunDirectory]) -> dict[str, Any]:
    """What a submission declares of the ensemble: parameters and MACs added up, methods listed."""
    every = [*map(declared_of, runs)]
    counts = {key: [f.get(key) for f in every] for key in ("total_parameters", "macs")}
    facts: dict[str, Any] = {key: sum(values) for key, values in counts.items() if None not in values}
    for key in _LISTED:
        if words := [word for f in every for word in str(f.get(key) or "").split(", ") if word]:
            facts[key] = ", ".join(dict.fromkeys(words))
    if datasets := {entry["name"]: entry for f in every for entry in f.get("external_datasets") or ()}:
        facts["external_datasets"] = list(datasets.values())
    subsystems = [f.get("ensemble_method_subsystem_count") or 1 for f in every]
    return facts | {"ensemble_method_subsystem_count": sum(subsystems)}


def fuse(members: Sequence[Member], method: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fused scores of one machine; seeds of a member are averaged first, so that each member counts once.

    Returns:
        The score table of the test clips (decisions still those of the first member) and a table of the
        training clips with the columns file and score.
    """
    tests, trainings = map(list, zip(*(_averaged(member, method) for member in members), strict=True))
    if len({*map(len, trainings)}) > 1:  # some learnt from windows of a long recording, others from the whole
        trainings = [table.groupby("file", as_index=False)["score"].mean() for table in trainings]
    _check_same_clips(tests, members[0].runs[0], "test")
    _check_same_clips(trainings, members[0].runs[0], "training")
    test, training = (np.mean([table["score"] for table in tables], axis=0) for tables in (tests, trainings))
    return tests[0].assign(score=test), trainings[0].assign(score=training)


def _averaged(member: Member, method: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test and training scores of one member on the common scale, mean over its seeds."""
    combine = FUSIONS[method]
    tests = [run.scores.table(member.scorer).sort_values(_CLIP_COLUMNS, ignore_index=True) for run in member.runs]
    trainings = [run.training_scores().sort_values("file", kind="stable", ignore_index=True) for run in member.runs]
    _check_same_clips(tests, member.runs[0], "test")
    _check_same_clips(trainings, member.runs[0], "training")
    scales = [table[member.scorer].to_numpy(float) for table in trainings]
    fused = combine([table["score"].to_numpy(float) for table in tests], scales)
    return tests[0].assign(score=fused), trainings[0][["file"]].assign(score=combine(scales, scales))


def _check_same_clips(tables: Sequence[pd.DataFrame], run: RunDirectory, what: str) -> None:
    known = [column for column in (*_CLIP_COLUMNS, "label") if column in tables[0]]
    if any(not table[known].equals(tables[0][known]) for table in tables[1:]):
        raise AsdError(
            f"{run.path} and a run fused with it scored different {what} clips, or know other labels of them; train "
            f"and score all members on the same data"
        )


def fuse_z(scores: Sequence[FloatArray], training: Sequence[FloatArray]) -> FloatArray:
    """Mean of z scores, (clips,), of scores (clips,) of each member and its training scores, which give it a scale."""
    return np.mean([ScoreNormalizer.of(t).z(s) for s, t in zip(scores, training, strict=True)], axis=0)


def fuse_rank(scores: Sequence[FloatArray], training: Sequence[FloatArray]) -> FloatArray:
    """Mean rank among the training scores, in [0, 1]; beyond all of them the z score decides, scaled small.

    Robust to members whose scores have long tails, but coarse: n training clips give n + 1 ranks.
    """
    ranks = []
    for own, own_training in zip(scores, training, strict=True):
        share_below = np.searchsorted(np.sort(own_training), own, side="left") / len(own_training)
        ranks.append(share_below + 1e-6 * ScoreNormalizer.of(own_training).z(own))
    return np.mean(ranks, axis=0)


FUSIONS = {"z": fuse_z, "rank": fuse_rank}
