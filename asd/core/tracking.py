"""Trainings in the trackers of experiments that people have: TensorBoard, MLflow, Weights & Biases. None is needed.

A training asks `TRACKER` and need not know which one there is, or whether there is any. One that goes on after
an interruption goes on in the tracker, too: it is found by its identity.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asd.core.runtime import imported
from asd.options import flattened
from asd.types import AsdError

TrackerName = Literal["none", "tensorboard", "mlflow", "wandb"]


@dataclass(frozen=True, slots=True)
class Tracked:
    """The training that is tracked."""

    project: str  # what several trainings belong to: the name of a run
    name: str  # of the training in it, such as fan/seed0
    identity: str  # of the training; another one of the same name has another
    directory: Path  # where the tracker may write

    @classmethod
    def of(cls, directory: Path, identity: str, levels: int = 2) -> Tracked:
        """A training by its directory, whose last `levels` folders name it: machine and seed, or the seed alone."""
        place = directory.resolve()
        return cls(place.parts[-1 - levels], "/".join(place.parts[-levels:]), f"{place} {identity}", directory)


class _TensorBoard:
    """Event files in the folder `tensorboard` of the training, for `tensorboard --logdir runs`."""

    def __init__(self, what: Tracked) -> None:
        library = _library("torch.utils.tensorboard", "tensorboard")
        self._writer = library.SummaryWriter(str(what.directory / "tensorboard"))

    def parameters(self, values: Mapping[str, Any]) -> None:
        rows = "".join(f"| {name} | {value} |\n" for name, value in values.items())
        self._writer.add_text("options", f"| option | value |\n|---|---|\n{rows}")

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def artifact(self, path: Path) -> None:
        self._writer.add_text("files", str(path.resolve()))  # it keeps no files: this says where it is

    def close(self, *, ended: bool) -> None:
        self._writer.close()


@contextmanager
def _told() -> Iterator[None]:
    """Errors of MLflow, of its server above all, become a sentence; it holds no password of the address."""
    try:
        yield
    except AsdError:
        raise
    except Exception as error:
        why = re.sub(r"//[^/@\s]+@", "//***@", " ".join(str(error).split()))
        raise AsdError(
            f"track=mlflow fails ({why}); check MLFLOW_TRACKING_URI or the folder mlruns, or leave track= out: the "
            f"same command goes on"
        ) from error


class _Mlflow:
    """A run of MLflow, on the server of MLFLOW_TRACKING_URI or in the folder `mlruns`."""

    @_told()
    def __init__(self, what: Tracked) -> None:
        library = _library("mlflow", "mlflow")
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        own = Path("mlruns").resolve().as_uri()
        self._client = library.MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or own)
        known = self._client.get_experiment_by_name(what.project)
        place = known.experiment_id if known else self._client.create_experiment(what.project)
        quote = '"' if "'" in what.identity else "'"
        found = self._client.search_runs([place], f"tags.`asd.identity` = {quote}{what.identity}{quote}")
        tags = {"mlflow.runName": what.name, "asd.identity": what.identity}
        self._run = (found[0] if found else self._client.create_run(place, tags=tags)).info.run_id
        self._client.update_run(self._run, "RUNNING")  # again, where it was broken off
        self._known = dict(found[0].data.params) if found else {}

    @_told()
    def parameters(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if name not in self._known:  # MLflow lets no parameter change
                self._client.log_param(self._run, name, value)

    @_told()
    def numbers(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, name, float(value), step=step)

    @_told()
    def artifact(self, path: Path) -> None:
        self._client.log_artifact(self._run, str(path))

    @_told()
    def close(self, *, ended: bool) -> None:
        self._client.set_terminated(self._run, "FINISHED" if ended else "FAILED")


class _Wandb:
    """A run of Weights & Biases; WANDB_MODE=offline needs no account."""

    def __init__(self, what: Tracked) -> None:
        self._wandb = _library("wandb", "wandb")
        what.directory.mkdir(parents=True, exist_ok=True)
        try:
            self._run = self._wandb.init(
                project="asd",
                group=what.project,
                name=what.name,
                id=hashlib.sha256(what.identity.encode()).hexdigest()[:16],
                resume="allow",
                dir=str(what.directory),
                reinit="create_new",
            )
        except self._wandb.Error as error:
            raise AsdError(
                f"track=wandb: {' '.join(str(error).split())}; set WANDB_MODE=offline to keep it on this computer"
            ) from error

    def parameters(self, values: Mapping[str, Any]) -> None:
        self._run.config.update(dict(values), allow_val_change=True)

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, "epoch": step})

    def artifact(self, path: Path) -> None:
        artifact = self._wandb.Artifact(f"{path.stem}-{self._run.id}", type="report")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self, *, ended: bool) -> None:
        self._run.finish(exit_code=0 if ended else 1)


# `parameters` notes options by name; `numbers` a step of curves, an epoch counted from 1, or 0 for the whole training;
# `artifact` keeps a file; `close` writes what is left, and whether the training ended or was broken off.
Tracker = _TensorBoard | _Mlflow | _Wandb
TRACKER: ContextVar[Tracker | None] = ContextVar("tracker", default=None)  # what listens, None: nothing
_TRACKERS: dict[str, Callable[[Tracked], Tracker]] = {"tensorboard": _TensorBoard, "mlflow": _Mlflow, "wandb": _Wandb}


@contextmanager
def tracking(name: TrackerName, what: Tracked, options: Mapping[str, Any] | None = None) -> Iterator[Tracker | None]:
    """Opens a tracker, which then gets the numbers of trainings, or none; options that are None were noted before."""
    if name == "none":
        yield None
        return
    opened = _TRACKERS[name](what)
    token, ended = TRACKER.set(opened), False
    try:
        if options is not None:
            opened.parameters({name: str(value) for name, value in flattened(options)})
        yield opened
        ended = True
    finally:
        TRACKER.reset(token)
        opened.close(ended=ended)


def _library(module: str, name: str) -> Any:
    return imported(
        module,
        f"track={name} needs the package {name}, which is not installed; `pip install 'asd[{name}]'`, or leave it "
        f"out: metrics.jsonl has the same numbers",
    )
