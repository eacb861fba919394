"""Score tables and the recordings of their rows: a run's own test clips, other data, and predictions of anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os.path import lexists
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asd.core.storage import list_names
from asd.data.given import clips_of_files
from asd.data.recordings import Recordings, check, joined
from asd.detectors.windowed import SAME_LENGTH
from asd.places import mirrored
from asd.runs import RunDirectory, ScoreFolder
from asd.settings.parsing import options_of
from asd.stages.jobs import Job, dataset_of, load_test, prepare
from asd.types import AsdError, Clip, Split, named, section_name


def stored_job(
    run: RunDirectory, runs: Path, changes: Sequence[Mapping[str, Any]] | None = None
) -> tuple[Job, Recordings]:
    """The job of a complete run, as its configuration tells it, and its training clips with those confirmed since.

    `changes` are those of its bank that count, by default all of `RunDirectory.confirmed`. `AsdError` where the
    training clips are gone, or others than the model was fitted on.
    """
    settings = options_of(run, name=run.path.parts[-3], runs=runs)  # its folder may have been renamed or copied
    known = run.scores.data()
    if known and not settings.normal and not settings.data_root.exists():  # they were moved, and scored there
        settings = settings.model_copy(update={"data": mirrored(known.root)})
    list_names(settings.data_root)
    (job,) = prepare(settings, dataset_of(settings), learn=True)
    assert job.learn is not None  # `learn` asks for it
    run.make_way(job.model_fingerprint, overwrite=False)
    files = [file for change in (run.confirmed() if changes is None else changes) for file in change["files"]]
    if not files:
        return job, job.learn
    clips = clips_of_files([run.path / "confirmed" / file["kept"] for file in files], run.machine, Split.TRAIN)
    clips = [replace(clip, section=file.get("section", clip.section)) for file, clip in zip(files, clips, strict=True)]
    learnt = grown(job, read_like(job.learn, clips))
    return replace(job, learn=learnt), learnt


def grown(job: Job, new: Recordings) -> Recordings:
    """The training clips of a job and new recordings, which are cut where they are longer than all of those."""
    assert job.learn is not None  # as `stored_job` gives it
    if not job.config.window_s:
        new, _ = new.windows(int(job.learn.lengths_samples.max()), SAME_LENGTH)
    return joined([job.learn, new])


def scored_clips(job: Job, data: Path | None = None) -> tuple[ScoreFolder, Recordings]:
    """The scores of a run's own test clips, or of those in `data`, and the recordings."""
    run = job.run
    if data is None:
        if job.test is None:
            raise AsdError(f"{run.path} has no test clips to explain; put some in test/ and `score` them")
        return run.scores, job.test.recordings
    if (found := run.scores_of(data)) is None:
        raise AsdError(f"{run.path} has no scores of {data}; `score data={data}` makes them")
    list_names(data)
    other = job.config.model_copy(update={"data": data, "normal": None, "abnormal": None, "layout": "auto"})
    return found, load_test(other, dataset_of(other), run.machine, job.learn).recordings


def in_order(test: Recordings, rows: pd.DataFrame) -> Recordings:
    """The recordings of rows of a score table, by their names."""
    index = {clip.name: i for i, clip in enumerate(test.clips)}
    if missing := [file for file in rows["file"] if file not in index]:
        raise AsdError(f"{missing[0]} has a score but is not among the test clips; score again with the same data=")
    return test.subset([index[file] for file in rows["file"]])


def predicted_recordings(rows: pd.DataFrame, train: Recordings) -> Recordings:
    """The recordings of rows of a table of predictions, read as the training clips were, of the sections it tells."""
    places = [mirrored(file) for file in rows["file"]]
    for place in places:
        list_names(place)
    if gone := [place.name for place in places if not lexists(place)]:
        raise AsdError(
            f"{len(gone)} of {len(rows)} recordings of the table of predictions are not there ({named(gone)}); start "
            f"this in the folder where predict was started, remove their rows, or report with clips=0"
        )
    clips = clips_of_files(rows["file"].tolist(), rows["machine"].iloc[0], Split.TEST)
    sections = zip(clips, map(section_name, rows["section"]), strict=True)
    return read_like(train, [replace(clip, section=section or clip.section) for clip, section in sections])


def read_like(known: Recordings, clips: Sequence[Clip]) -> Recordings:
    """Clips in files, read as recordings that are known."""
    return check(clips, sample_rate_hz=known.sample_rate_hz, front_end=known.front_end, resample=True)


def predicted_tables(path: Path, runs: Sequence[RunDirectory], scorer: str | None) -> dict[RunDirectory, pd.DataFrame]:
    """A table of predictions by runs: the rows of each machine, with the columns of a score table and `threshold`.

    Where the table tells no thresholds, those of the runs hold: of a scorer, or (None) of the default one. Runs without
    a row are left out.
    """
    table, known = _read_predictions(path), [run.machine for run in runs]
    if unknown := {*table["machine"]} - {*known}:
        raise AsdError(f"{path} has clips of {min(unknown)}, which the run lacks; it has {', '.join(known)}")
    found = {}
    for run in runs:
        rows = table[table["machine"] == run.machine].reset_index(drop=True)
        if len(rows):
            told = rows.get("threshold")
            limits = threshold_of(run, scorer or run.default_scorer()) if told is None else told
            found[run] = rows.assign(threshold=limits, decision=(rows["score"] > limits).astype(int))
    return found


def _read_predictions(path: Path) -> pd.DataFrame:
    list_names(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if missing := [column for column in ("path", "machine", "score") if column not in table]:
            raise ValueError(f"it has no column {missing[0]}")
        if not isinstance(table.index, pd.RangeIndex):  # pandas takes the cells that are too many for names of rows
            raise ValueError("its rows have more cells than its first line names, as by a decimal comma")
        for column in [column for column in ("score", "threshold") if column in table]:
            table[column] = table[column].astype(float)
            if not np.isfinite(table[column]).all() or table.empty:
                raise ValueError(f"it has no {column}s, or one that is not finite")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise AsdError(
            f"predictions={path} is no readable table of predictions ({reason}); predict writes it"
        ) from error
    unsaid = {"section": "", "domain": "", "split": Split.TEST.value, "label": ""}
    return table.assign(file=table["path"], **{name: value for name, value in unsaid.items() if name not in table})


def threshold_of(run: RunDirectory, scorer: str) -> float:
    """The threshold of a run above which a score is anomalous."""
    found = run.scores.thresholds().get(scorer, {}).get("value")
    if found is None:
        raise AsdError(
            f"{run.scores.path}/thresholds.json has no threshold of {scorer}; "
            f"`score name={run.path.parts[-3]}` writes it"
        )
    return float(found)
