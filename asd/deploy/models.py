"""The models that are served, and what they make of the recordings of a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

from asd.core.runtime import log
from asd.data.codecs import promised_length
from asd.data.given import clips_of_files
from asd.data.recordings import Refused
from asd.deploy.service import RefusalError
from asd.library import Model, load
from asd.places import is_recording
from asd.runs import RunDirectory, find_runs, machine_names, run_names
from asd.types import AsdError, Split

_MOST_CHANNELS = 8
_MOST_VALUES_PER_S = 96_000  # of all channels: a few bytes of silence may promise more than memory holds

Key = tuple[str, str]  # run and machine


def model_name(key: Key) -> str:
    """A model as messages name it."""
    return "/".join(filter(None, key))


@dataclass(frozen=True, slots=True)
class Upload:
    """A recording of a request: what the caller calls it, and its bytes."""

    name: str
    content: bytes


@dataclass(slots=True)
class Loaded:
    """A model, the run that it was read from, and when that was completed."""

    model: Model
    run: RunDirectory
    completed_ns: int


class Models:
    """The models of a folder of runs, by run and machine; of several seeds the first.

    What cannot be used is left out and named. `AsdError` where nothing is left.
    """

    def __init__(self, runs: Path, name: str | None, device: str) -> None:
        self.loaded: dict[Key, Loaded] = {}
        self.left_out: dict[Key, str] = {}  # why; of a run that may not be looked into the machine is ""
        for run_name in [name] if name else run_names(runs):
            try:
                for machine in machine_names(runs, run_name):
                    self._load(runs, (run_name, machine), device)
            except AsdError as error:
                if name:
                    raise
                self._leave_out((run_name, ""), error)
        if not self.loaded:
            for why in self.left_out.values():
                raise AsdError(f"{runs} holds no model that can be served: {why}")
            raise AsdError(f"{runs} holds no trained run with a model; train one, or name another folder with runs=")

    def _load(self, runs: Path, key: Key, device: str) -> None:
        """Loads a model; one that cannot be used keeps no other from being served."""
        run_name, machine = key
        try:
            run = find_runs(runs, run_name, machine=machine)[0]
            completed_ns = run.completed_ns()
            if run.fused_members():
                log.info("%s is a fusion and has no model; it is not served", run.path)
                return
            self.loaded[key] = Loaded(load(runs / run_name, machine, device=device), run, completed_ns)
        except Exception as error:  # a detector of one's own may raise any
            self._leave_out(key, error)

    def missing(self) -> str:
        """The end of a sentence that names what is left out; "" where that is nothing."""
        return f"; not served: {', '.join(map(model_name, self.left_out))}" if self.left_out else ""

    def _leave_out(self, key: Key, error: Exception) -> None:
        is_known = isinstance(error, AsdError)
        self.left_out[key] = why = str(error) if is_known else "it cannot be loaded, and the log says why"
        log.error("%s is not served: %s", model_name(key), why, exc_info=None if is_known else error)

    def described(self) -> list[dict[str, Any]]:
        """Each model and the recordings that it takes."""
        return [_described(run, machine, loaded.model) for (run, machine), loaded in self.loaded.items()]

    def chosen(self, run: str | None, machine: str | None) -> tuple[str, str, Model]:
        """Run, machine and model that a request names, or the only one; `RefusalError` where none or several fit."""
        every = [*self.loaded, *self.left_out]  # the model of another machine is not to stand for one that is missing
        found = [key for key in every if run in (None, key[0]) and (machine in (None, key[1]) or not key[1])]
        served = [key for key in found if key in self.loaded]
        if found and not served:
            why = self.left_out[found[0]]
            raise RefusalError(503, f"{model_name(found[0])} is not served: {why}; then start serve again")
        if len(found) != 1:
            what = "several models fit" if found else "there is no such model"
            which = ", ".join(urlencode({"run": a, "machine": b}) for a, b in served or self.loaded)
            raise RefusalError(404 if not found else 422, f"{what}; name one of {which}{self.missing()}")
        _tell_of_change(loaded := self.loaded[found[0]])
        return *found[0], loaded.model


def _described(run: str, machine: str, model: Model) -> dict[str, Any]:
    return {
        "run": run,
        "machine": machine,
        "sample_rate_hz": model.options.sample_rate_hz,
        "microphones": model.detector.context.front_end.n_microphones,
        "least_samples": model.options.detector_settings.least_samples(),
        "sections": list(model.sections),
        "scorers": list(model.scorers),
        "thresholds": {scorer: model.thresholds[scorer].value for scorer in model.scorers},
    }


def _tell_of_change(loaded: Loaded) -> None:
    """Says in the log, once for each change, that the model that answers is no longer the one of the run."""
    if (now := loaded.run.completed_ns()) not in (0, loaded.completed_ns):
        loaded.completed_ns = now
        log.warning(
            "%s was made anew since its model was loaded, and the earlier one answers; start serve again",
            loaded.run.path,
        )


def score_uploads(
    model: Model,
    uploads: Sequence[Upload],
    scorer: str | None,
    seconds: float,
    section: str | None = None,
    is_given_up: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
    """Scores recordings of a request as `predict` does, one after another, so that memory holds only one.

    They are of the section, None: that their names say. A row per recording has its name, and score and decision, or
    the error that it has none for; of a recording without a usable sound the defect besides.
    """
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="asd-serve-") as folder:
        for i, upload in enumerate(uploads):
            if is_given_up():
                break
            path = _write(Path(folder) / str(i), upload)
            found = _scored(model, path, upload.content, scorer, seconds, section)
            path.unlink()
            if "error" in found:
                found["error"] = found["error"].replace(str(path), upload.name)
            rows.append({"file": upload.name, **found})
    return rows


def _scored(
    model: Model, path: Path, content: bytes, scorer: str | None, seconds: float, section: str | None
) -> dict[str, Any]:
    """Score and decision of a recording, or why it has none."""
    refused: list[Refused] = []
    try:
        _refuse_too_much(path, content, seconds)
        (clip,) = clips_of_files([path], model.options.machine[0], Split.TEST)
        if section is not None:
            clip = replace(clip, section=section)
        (row,) = model.score_clips([clip], scorer, refused).to_dict("records")
    except AsdError as error:
        return {"error": str(refused[0][1] if refused else error)}
    found = {"score": float(row["score"]), "decision": bool(row["decision"])}
    return {**found, "defect": row["defect"]} if row["defect"] else found


def _write(folder: Path, upload: Upload) -> Path:
    """A recording of a request under its own name, as far as that is harmless: it may tell the section."""
    name = re.sub(r"[^\w.-]", "_", PurePosixPath(upload.name).name).lstrip(".")
    name = name[-60:] or "recording"  # 240 bytes at most, and a file's name has 255
    path = folder / (name if is_recording(Path(name)) else f"{name}.wav")
    folder.mkdir()
    path.write_bytes(upload.content)
    return path


def _refuse_too_much(path: Path, content: bytes, seconds: float) -> None:
    """Refuses a recording by what its header promises, before anything is decoded."""
    length_s, n_channels, n_values = promised_length(path, content)
    if length_s > seconds:
        raise AsdError(f"{path} takes {length_s:.0f} s, more than {seconds:g} s; send a part of it")
    if n_channels > _MOST_CHANNELS:
        raise AsdError(f"{path} has {n_channels} channels, more than {_MOST_CHANNELS}; send those of the microphones")
    if n_values > (most := round(seconds * _MOST_VALUES_PER_S)):
        raise AsdError(f"{path} holds {n_values} samples, more than {most}; send a part of it, or at a lower rate")
