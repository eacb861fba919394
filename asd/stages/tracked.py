"""Trainings and reports in a tracker of experiments: what is noted of a run, and under which identity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asd.core.tracking import Tracked, tracking
from asd.metrics import auc
from asd.runs import RunDirectory, read_json
from asd.stages.jobs import Job
from asd.types import Label


@contextmanager
def tracked(job: Job) -> Iterator[None]:
    """Notes the options before a job, what its training logs, and its results afterwards; nothing without track=."""
    if job.config.track == "none":
        yield
        return
    with tracking(job.config.track, _what(job.run, job.model_fingerprint), job.config.stored()) as board:
        yield
        board.numbers(_results(job.run), 0)


def add_report(run: RunDirectory, path: Path) -> None:
    """Keeps a report where the training of a run was tracked.

    Args:
        run: complete.
        path: of the page.
    """
    if (name := run.config().get("track", "none")) != "none":
        with tracking(name, _what(run, run.held() or "")) as board:
            board.artifact(path)


def _what(run: RunDirectory, identity: str) -> Tracked:
    place = run.path.resolve()
    return Tracked(place.parts[-3], f"{run.machine}/{place.name}", f"{place} {identity}", run.path)


def _results(run: RunDirectory) -> dict[str, float]:
    """AUC of each scorer over all labelled test clips, where there are both kinds, and the thresholds."""
    limits = read_json(run.scores.path / "thresholds.json")
    found = {f"threshold/{scorer}": float(limit["value"]) for scorer, limit in limits.items()}
    for scorer, table in run.scores.tables().items():
        known = table[table["label"] != ""]
        if {*known["label"]} == {*Label}:
            found[f"auc/{scorer}"] = float(auc(known["label"] == Label.ANOMALY, known["score"].to_numpy()))
    return found
