"""The stage `predict`: any recordings scored with a trained run, which it does not touch.

It works in pieces, here, in local processes or on a Ray cluster, so memory does not grow with the number of recordings
but for a row each. What a piece found is appended to a file at once, and the same command goes on from there after an
interruption.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from glob import has_magic
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from asd.core.executors import LostError, finished
from asd.core.files import alone, append_text, check_file_place, write_text
from asd.core.runtime import fingerprint, log
from asd.data.given import clips_of_files
from asd.data.layouts.words import is_called_by
from asd.data.recordings import Refused
from asd.evaluation.completeness import chosen_runs, missing_runs
from asd.library import Model, load
from asd.options import machine_options, run_options
from asd.places import mirrored, place_name, spelled, written
from asd.runs import RunDirectory
from asd.settings.stages import Predict
from asd.stages.confirming import Change, confirm, undo_last
from asd.stages.predictions import COLUMNS, warn_of_defects, with_ranks
from asd.types import AsdError, Clip, Split, named, section_among

PIECE = 256  # recordings that are read and scored at once
_NAMED = 10  # of each machine in the last message


@dataclass(frozen=True, eq=False)
class Predicted:
    """What `predict` found."""

    folder: Path  # where it lies
    table: pd.DataFrame  # rows of `stages.predictions.predictions`, of each machine the most suspicious first
    skipped: Mapping[str, str]  # why a recording could not be used, by path
    exit_code: int  # 3 where anomalies were found and count as a failure, 1 where recordings were skipped, else 0
    changes: Sequence[Change] = ()  # of the banks of runs


def predict(config: Predict) -> Predicted:
    """Scores any recordings, and may add them to the bank of the run; or takes back those that were added last."""
    name = config.name
    runs = {run.machine: run for run in reversed(chosen_runs(config.runs, name, config.machine, config.seed))}
    if config.undo or config.audio is None:
        return Predicted(Path(), pd.DataFrame(columns=list(COLUMNS)), {}, 0, [undo_last([*runs.values()], config.runs)])
    begun = missing_runs(config.runs, name, config.machine)
    known = sorted({*runs, *(machine for machine, _ in begun)})
    clips = [replace(clip, machine=_machine(clip, known)) for clip in clips_of_files(config.audio, "", Split.TEST)]
    if others := [clip for clip in clips if clip.machine not in runs]:
        raise AsdError(
            f"{others[0].path} is of {others[0].machine}, whose training is not complete: start the same train or "
            f"enroll again, or leave the recording out"
        )
    folder = config.out or Path("predictions") / name / _place(config.audio)
    check_file_place(folder / "predictions.csv")
    with alone(folder, busy=f"another command writes to {folder}; wait until it is done, or say out="):
        journal = Journal(folder / ".predictions.partial.jsonl")
        _score(list(_pieces(config, runs, clips, journal)), journal, config)
        table, skipped = journal.of(clips)
        if table.empty:
            raise AsdError(f"none of {len(clips)} recordings can be used, as {next(iter(skipped.values()))}")
        _write(folder, table, skipped)
        warn_of_defects(table)
        journal.remove()
    exit_code = 3 if config.fail_on_anomaly and table["decision"].any() else int(bool(skipped))
    changes = []
    if config.confirm_normal:
        told = table.sort_values("path").groupby("machine")[["path", "section"]]
        changes = [confirm(runs[str(machine)], config.runs, dict(rows.to_numpy())) for machine, rows in told]
    return Predicted(folder, table, skipped, exit_code, changes)


def summary(config: Predict, result: Predicted) -> str:
    """The most suspicious recordings, those that could not be used, and what to do next."""
    table, skipped = result.table, result.skipped
    changes = [_change(change, config) for change in result.changes]
    if config.undo:
        return "\n".join(changes)
    lines = []
    for machine, rows in table.groupby("machine", sort=False):
        above = f"{rows['decision'].sum()} above the threshold of {rows['threshold'].iloc[0]:.4g}"
        lines.append(f"{machine}: {len(rows)} recording{'s' * (len(rows) > 1)}, {above}")
        columns = ["rank", "score", "decision", "normal_above", "path"]
        lines.append(rows[columns].head(_NAMED).to_string(index=False, float_format="%.3f"))
    lines += [f"skipped: {why}" for why in list(skipped.values())[:_NAMED]]
    lines += [f"{len(skipped)} skipped: {result.folder / 'skipped.csv'}"] if skipped else []
    path = result.folder / "predictions.csv"
    run = run_options(config.name, config.runs, f"predictions={path}")
    return "\n".join([*lines, f"written: {path}", *changes, f"next: python -m asd report {run}"])


def _change(change: Change, config: Predict) -> str:
    """What was done to the bank of a run, how sure it is now, and how to take it back."""
    n, machine = abs(change.n_added), change.run.machine
    what = "added to" if change.n_added > 0 else "taken out of"
    chosen = run_options(config.name, config.runs, *machine_options([machine]))
    undo = f"; python -m asd predict {chosen} --undo takes this back"
    return (
        f"{n} recording{'s' * (n > 1)} {what} the bank of {machine}, which holds {change.n_normal} now: threshold "
        f"{change.before:.4g} -> {change.after:.4g}{change.sure and f'; {change.sure}'}"
        f"{undo if change.n_added > 0 else ''}"
    )


def _place(audio: str) -> str:
    """What the result is called by default: the folder or file, or the folder that a pattern begins with."""
    place = mirrored(audio).absolute()
    while has_magic(place.name) and not place.exists():
        place = place.parent
    return place_name(place)


def _machine(clip: Clip, machines: Sequence[str]) -> str:
    if clip.machine in machines or (not clip.machine and len(machines) == 1):
        return clip.machine or machines[0]
    around = Path(unicodedata.normalize("NFC", str(clip.path.absolute().parent))).parts  # disks write accents apart
    above = [part for part in around if part in machines] or [name for name in machines if is_called_by(name, around)]
    if not clip.machine and above:
        return above[-1]
    known = named(machines)
    if clip.machine:
        raise AsdError(f"{clip.path} is of {clip.machine}, and it is asked of {known}; leave it out")
    raise AsdError(
        f"the run has several machines ({known}), and no folder of {clip.path} is named after one of them; say machine="
    )


class Piece(NamedTuple):
    """Recordings of a machine that are scored at once, wherever that is."""

    model: str  # its hash
    run: str  # where its run lies, as every computer knows it
    clips: tuple[Clip, ...]
    scorer: str | None  # None: the first
    device: str


def _pieces(
    config: Predict, runs: Mapping[str, RunDirectory], clips: Sequence[Clip], journal: Journal
) -> Iterator[Piece]:
    """The recordings that have no score yet, machine by machine."""
    for machine in sorted({clip.machine for clip in clips}):
        run = runs[machine]
        key = fingerprint(run.fit_facts(), run.scores.thresholds(), config.scorer)
        own = [clip for clip in clips if clip.machine == machine]
        if config.section is not None:
            section = section_among(run.fit_facts()["sections"], config.section, machine)
            key, own = fingerprint(key, section), [replace(clip, section=section) for clip in own]
        todo = journal.begin(key, own)
        if len(todo) < len(own):
            log.info("%s: %d of %d recordings are scored already", machine, len(own) - len(todo), len(own))
        for start in range(0, len(todo), PIECE):
            yield Piece(key, written(run.path), tuple(todo[start : start + PIECE]), config.scorer, config.device)


def _score(pieces: Sequence[Piece], journal: Journal, config: Predict) -> None:
    """Does all pieces and writes down what they find; a process that is lost costs its piece, named at the end."""
    lost: dict[int, LostError] = {}
    try:
        for i, found, error in finished(score_piece, pieces, config, device=config.device, label="predict", keeps=True):
            if isinstance(error, LostError):
                lost[i] = error
            elif error is not None:
                raise error
            else:
                journal.add(pieces[i].model, *found)
    finally:
        _model.cache_clear()  # the same folder may hold another model next time
    if lost:
        first, count = min(lost), sum(len(pieces[i].clips) for i in lost)
        where = f"{count} recordings from {pieces[first].clips[0].path} on"
        raise AsdError(f"{where} have no score, those of all others are kept: {lost[first]}")


def score_piece(piece: Piece) -> tuple[pd.DataFrame, list[Refused]]:
    """Rows of the recordings that can be used, and the others with the reason; in whatever process."""
    refused: list[Refused] = []
    try:
        return _model(piece.run, piece.device).score_clips(piece.clips, piece.scorer, refused), refused
    except AsdError:
        if len(refused) < len(piece.clips):
            raise
        return pd.DataFrame(columns=list(COLUMNS)), refused


@lru_cache(maxsize=4)
def _model(place: str, device: str) -> Model:
    """One model of a machine per process, for as long as there are recordings of it."""
    run = RunDirectory(mirrored(place))
    return load(run.path.parents[1], run.machine, seed=run.seed, device=device)


class Journal:
    """What is known of recordings so far, as a file that grows by a line of JSON per piece.

    A finding holds for a model and for a file as it was: its size and the time it was written. A line that was cut off
    by an interruption is dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, dict[str, Any] | str] = {}  # rows by path, or why there is none
        self._stamps: dict[str, list[int]] = {}  # of files by path, from before they were read
        self._lines = list(_whole_lines(path))

    def begin(self, model: str, clips: Sequence[Clip]) -> list[Clip]:
        """Takes over scores that the same model found of the same files; returns the clips that have none yet.

        What could not be used is tried again: permissions and codecs of a computer change without the file.
        """
        self._stamps |= (stamps := {_key(clip): _stamp(clip.path) for clip in clips})
        for line in self._lines:
            if line["model"] == model:
                same = {path: found for path, stamp, found in line["found"] if stamps.get(path) == stamp}
                self.found |= {path: found for path, found in same.items() if not isinstance(found, str)}
        return [clip for clip in clips if _key(clip) not in self.found]

    def add(self, model: str, table: pd.DataFrame, refused: Sequence[Refused]) -> None:
        """Takes what a piece found, rows of the usable clips and why others were refused, and writes it down."""
        found: dict[str, Any] = {row["path"]: row for row in table.to_dict("records")}
        found |= {_key(clip): spelled(str(error)) for clip, error in refused}
        self.found |= found
        line = {"model": model, "found": [(path, self._stamps[path], f) for path, f in found.items()]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_text(self.path, f"\n{json.dumps(line)}\n")  # which may lie behind a line that was cut off

    def of(self, clips: Sequence[Clip]) -> tuple[pd.DataFrame, dict[str, str]]:
        """The table, of each machine the most suspicious first, and why the other clips have no row."""
        found = [(path, self.found[path]) for path in map(_key, clips) if path in self.found]
        rows = [finding for _, finding in found if not isinstance(finding, str)]
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        skipped = {path: finding for path, finding in found if isinstance(finding, str)}
        if rows:
            table = with_ranks(table).sort_values(["machine", "rank"], ignore_index=True)
        return table, skipped

    def remove(self) -> None:
        """Removes the file: what it held is written elsewhere."""
        self.path.unlink(missing_ok=True)


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of an earlier, interrupted command that were not cut off."""
    for text in path.read_text("utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
            line["model"], [(path, stamp, found) for path, stamp, found in line["found"]]
        except (ValueError, KeyError, TypeError):
            continue
        yield line


def _key(clip: Clip) -> str:
    return spelled(str(clip.path))


def _stamp(path: Path) -> list[int]:
    """What tells whether a file is the same as before; [] where there is none."""
    try:
        facts = path.stat()
    except OSError:
        return []
    return [facts.st_size, facts.st_mtime_ns]


def _write(folder: Path, table: pd.DataFrame, skipped: Mapping[str, str]) -> None:
    """Writes predictions.csv, and skipped.csv where there is something to say; earlier predictions are kept."""
    path = folder / "predictions.csv"
    text = table.to_csv(index=False)
    write_text(path, text, before=lambda: _keep(path, text))
    if skipped:
        rows = pd.DataFrame([*skipped.items()], columns=["path", "why"])
        write_text(folder / "skipped.csv", rows.to_csv(index=False))
    else:
        (folder / "skipped.csv").unlink(missing_ok=True)


def _keep(path: Path, text: str) -> None:
    """Puts earlier predictions aside, under the time they were written, where the text that comes is another one."""
    path = path.resolve()  # the file behind a link, which is what is written anew
    if path.exists() and path.read_bytes() != text.encode():  # of any program, such as a spreadsheet
        written = datetime.fromtimestamp(path.stat().st_mtime)
        stem, n = f"predictions_{written:%Y-%m-%d_%H%M%S}", 1
        while (kept := path.with_name(f"{stem}{f'_{n}' if n > 1 else ''}.csv")).exists():
            n += 1  # an hour comes twice where clocks are set back
        path.rename(kept)
