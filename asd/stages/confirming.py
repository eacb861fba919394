"""Recordings that are confirmed as normal: into the bank of a trained run, and out again.

What was trained stays; the bank is fitted anew to the training clips and all confirmed recordings, and so is the
threshold. Copies of the recordings go to confirmed/ in the run, the model as it was to before/<changes>, and what was
done to confirmed.jsonl. The model is replaced as a whole; scores and DONE follow it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from asd.core.files import append_text, atomic
from asd.data.given import clips_of_files
from asd.data.recordings import Recordings, defects, joined
from asd.data.remarks import check_units
from asd.runs import RunDirectory
from asd.scoring.threshold import how_sure
from asd.stages.fitting import fitted, store_model, write_job_scores
from asd.stages.scored_clips import grown, read_like, stored_job
from asd.types import AsdError, Clip, Split


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to the bank of a run."""

    run: RunDirectory
    n_added: int  # negative where recordings were taken back
    n_normal: int  # recordings in the bank afterwards
    before: float  # threshold of the default scorer
    after: float
    sure: str  # what the new threshold promises, see `scoring.threshold.how_sure`; "" where windows are no recordings


def confirm(run: RunDirectory, runs: Path, sections: Mapping[str, str]) -> Change:
    """Adds normal recordings, paths with the section of each, to the bank of a run.

    `AsdError` for a recording that cannot be used, is an anomaly by its name or is in the bank already; for training
    clips that are gone; or for a detector that keeps no bank.
    """
    with run.alone():
        job, known = stored_job(run, runs)
        clips = clips_of_files([*sections], run.machine, Split.TRAIN)
        told = zip(clips, sections.values(), strict=True)
        clips = [replace(clip, section=_learnt_section(clip, own, known.sections)) for clip, own in told]
        new = _usable(clips, known)
        check_units(joined([known, new]))
        kept = [_keep(run, clip, sound.content) for clip, sound in new.pairs]
        new = replace(new, clips=tuple(replace(c, path=path) for c, path in zip(new.clips, kept, strict=True)))
        detector = fitted(job)
        every = grown(job, new)
        detector.refit(every)
        files = [
            {"path": path, "kept": keep.name, "content": sound.content, "section": clip.section}
            for path, keep, (clip, sound) in zip(sections, kept, new.pairs, strict=True)
        ]
        changes = run.confirmed()
        with atomic(run.path / "before" / str(len(changes))) as place:
            shutil.copytree(run.model, place)
        before = _threshold(run)
        entry = {"date": _now(), "files": files}
        facts = run.fit_facts()
        more = {"confirmed.json": {"changes": [*changes, entry]}}
        with run.changing():
            store_model(run, detector, every, facts["settings"], facts["data"], more)
            write_job_scores(replace(job, learn=every), detector, time.perf_counter())
        return _logged(run, "confirmed", entry, every, before)


def undo_last(chosen: Sequence[RunDirectory], runs: Path) -> Change:
    """Takes the last confirmed recordings back, of the only run that has some; its model is byte by byte that before.

    `AsdError` where nothing was confirmed, or for several machines; or where the model before is gone.
    """
    grown = [run for run in chosen if run.confirmed()]
    if len(grown) > 1:
        names = ", ".join(run.machine for run in grown)
        raise AsdError(f"recordings of several machines were confirmed ({names}); say machine=")
    run = (grown or list(chosen))[0]
    with run.alone():
        changes = run.confirmed()
        if not changes:
            raise AsdError(f"{run.path} has no confirmed recordings to take back")
        earlier = run.path / "before" / str(len(changes) - 1)
        if not earlier.is_dir():
            raise AsdError(f"{earlier} is gone, so nothing can be taken back; train again with overwrite=true")
        before, last = _threshold(run), changes[-1]
        job, learnt = stored_job(run, runs, changes[:-1])
        with run.changing():
            with atomic(run.model) as place:
                shutil.copytree(earlier, place)
            write_job_scores(job, fitted(job), time.perf_counter())
        shutil.rmtree(earlier)
        for file in last["files"]:
            (run.path / "confirmed" / file["kept"]).unlink(missing_ok=True)
        return _logged(run, "taken back", last, learnt, before)


def _usable(clips: Sequence[Clip], known: Recordings) -> Recordings:
    """The recordings, none of which is silent or known already."""
    new = read_like(known, clips)
    if broken := defects(new):
        clip, what = broken[0]
        raise AsdError(f"{clip.path} {what}: it would teach what no machine sounds like, leave it out")
    seen = {sound.content: clip for clip, sound in known.pairs}
    for clip, sound in new.pairs:
        if sound.content in seen:
            raise AsdError(f"{clip.path} is in the bank already, as {seen[sound.content].path}; leave it out")
        seen[sound.content] = clip
    return new


def _learnt_section(clip: Clip, told: str, sections: Sequence[str]) -> str:
    """The section of the bank that a recording joins: the one it is told to be of, or the only one."""
    if told in sections:
        return told
    if len(sections) > 1:
        raise AsdError(
            f"{clip.path} is of section {told}, and the bank of {clip.machine} has {', '.join(sections)}; say section="
        )
    return sections[0]


def _keep(run: RunDirectory, clip: Clip, content: str) -> Path:
    """A copy of a recording in the run: its own place may be emptied. Its name is cut where a file cannot have it."""
    name = clip.path.name if len(os.fsencode(clip.path.name)) < 200 else clip.path.name[-40:]
    kept = run.path / "confirmed" / f"{content[:12]}-{name}"
    with atomic(kept) as temporary:
        shutil.copyfile(clip.path, temporary)
    return kept


def _threshold(run: RunDirectory) -> dict[str, Any]:
    return run.scores.thresholds()[run.default_scorer()]


def _logged(run: RunDirectory, what: str, entry: dict[str, Any], learnt: Recordings, before: dict[str, Any]) -> Change:
    """The change, after it was written down."""
    after, n_normal = _threshold(run), len({clip.path for clip in learnt.clips})
    files = [file["path"] for file in entry["files"]]
    line = {"date": _now(), "change": what, "files": files, "n_normal": n_normal}
    line |= {"threshold_before": before["value"], "threshold_after": after["value"]}
    append_text(run.path / "confirmed.jsonl", json.dumps(line) + "\n")
    sure = how_sure(n_normal, after["false_alarm_bound"]) if n_normal == len(learnt) else ""
    n_added = len(files) if what == "confirmed" else -len(files)
    return Change(run, n_added, n_normal, before["value"], after["value"], sure)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
