"""The directory of one training, of a detector or of event detection: begun, interrupted and resumed, complete.

<run>/seed<k>/
    config.yaml         resolved configuration, from the beginning on
    model/              what was learnt
    metrics.jsonl       one JSON object per epoch
    state.safetensors   while training only: what to resume from
    DONE                appears last and holds the hash of all that decides the result
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from safetensors import SafetensorError, safe_open

from asd.core.files import read_json, read_yaml, write_json, write_text
from asd.core.runtime import log
from asd.runs.scores import ScoreFolder
from asd.types import AsdError

T = TypeVar("T", bound="TrainingDirectory")

STATE = "state.safetensors"


@dataclass(frozen=True, slots=True)
class TrainingDirectory:
    """The place of one training with one seed, existing or not."""

    path: Path

    @property
    def seed(self) -> int:
        """Of the training."""
        number = self.path.name.removeprefix("seed")
        if not number.isdecimal():
            raise AsdError(
                f"{self.path} is a model whose folder names no seed; call it seed0 in the folder of its machine"
            )
        return int(number)

    @property
    def model(self) -> Path:
        """Folder of what was learnt."""
        return self.path / "model"

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Marks the run as begun, so that later stages can name results that are missing."""
        if not (self.path / "config.yaml").exists():
            self.write_config(settings)

    def write_config(self, settings: Mapping[str, Any]) -> None:
        """Writes the resolved configuration."""
        write_text(self.path / "config.yaml", yaml.safe_dump(dict(settings), sort_keys=False))

    def config(self) -> dict[str, Any]:
        """The resolved configuration; {} where there is none."""
        path = self.path / "config.yaml"
        return read_yaml(path, advice="; train the run again with overwrite=true") if path.exists() else {}

    def epochs(self) -> list[dict[str, Any]]:
        """What the training logged, an object per epoch."""
        return [json.loads(line) for line in (self.path / "metrics.jsonl").read_text().splitlines()]

    def done(self) -> dict[str, Any]:
        """What DONE holds: "fingerprint" and more; {} where the run is not complete."""
        return read_json(self.path / "DONE")

    def is_done(self, fingerprint: str) -> bool:
        """Whether this exact run, options and data, is complete."""
        return self.done().get("fingerprint") == fingerprint

    def reopen(self) -> None:
        """Removes DONE: results are about to change."""
        (self.path / "DONE").unlink(missing_ok=True)

    def finish(self, fingerprint: str, **facts: Any) -> None:
        """Writes DONE: all outputs exist."""
        write_json(self.path / "DONE", {"fingerprint": fingerprint, **facts})
        self.end_training()

    def end_training(self) -> None:
        """Removes the state to resume from: the model is written."""
        (self.path / STATE).unlink(missing_ok=True)

    def held(self) -> str | None:
        """Fingerprint of the training that lies here, complete or broken off; None where the place is free."""
        return self.done().get("fingerprint") or interrupted(self.path)

    def make_way(self, fingerprint: str, *, overwrite: bool) -> None:
        """Makes sure that a training may begin or go on here; with `overwrite`, one of another fingerprint goes."""
        if self.held() in (None, fingerprint):
            return
        if not overwrite:
            raise self.in_the_way()
        self.clear()

    def in_the_way(self) -> AsdError:
        """The error of a training that finds another one in its place."""
        return AsdError(
            f"{self.path} was trained with another configuration or on other clips; give the same options again, "
            f"choose another name=, or train anew with overwrite=true"
        )

    def clear(self) -> None:
        """Removes everything of this run."""
        shutil.rmtree(self.path, ignore_errors=True)


def directories_with(kind: type[T], root: Path, file: str, pattern: str = "*/seed*") -> list[T]:
    """The directories under `root` that match the pattern and hold a file, by path and seed."""
    places = [path.parent for path in root.glob(f"{pattern}/{file}")]
    found = [kind(place) for place in places if place.name.removeprefix("seed").isdecimal()]
    return sorted(found, key=lambda run: (run.path.parent, run.seed))


def interrupted(folder: Path) -> str | None:
    """Fingerprint of the training that was stopped in a folder; None where there is none to resume."""
    path = folder / STATE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise AsdError(
            f"{path} is damaged or no safetensors file ({error}); remove it, and the same command trains from the "
            f"beginning"
        ) from error
    return str(facts.get("fingerprint", ""))


def digests(place: Path, folders: Iterable[ScoreFolder]) -> dict[str, str]:
    """Hash of the score tables in each folder, by its path."""
    return {folder.path.relative_to(place).as_posix(): folder.digest() for folder in folders}


def note_scores(file: Path, place: Path, folders: Iterable[ScoreFolder]) -> None:
    """Writes which scores a page or pictures are of, so that `warn_of_stale` can tell when they are others."""
    write_json(file, {"scored": digests(place, folders)})


def warn_of_stale(runs: Path, name: str) -> None:
    """Names recordings that are others since they were scored, and what was made of scores that are others since."""
    place, complete = runs / name, directories_with(TrainingDirectory, runs / name, "DONE")
    made = [(path, place, path, "make evaluate writes it anew") for path in sorted(place.glob("evaluation*.json"))]
    made += [(place / "report.html", place, path, "make report writes it anew") for path in place.glob("report.json")]
    made += [
        (path.parent, place, path, "make explain writes them anew")
        for path in sorted(place.rglob("explain/scored.json"))
    ]
    made += [(run.path, runs, run.path / "DONE", "fuse anew with overwrite=true") for run in complete]
    made += [(runs / "leaderboard.json", runs, runs / "leaderboard.json", "make leaderboard writes it anew")]
    for run in {run.path.parent: run for run in complete}.values():  # the clips of all seeds are the same
        if changes := ScoreFolder(run.path / "scores").changes():
            more = f" (and so have {len(changes) - 1} more)" if len(changes) > 1 else ""
            log.warning(
                "%s since the scores of %s were made%s; make score makes them anew", changes[0], run.path.parent, more
            )
    for what, start, file, way in made:
        scored = read_json(file).get("scored", {})
        if changed := [path for path, digest in scored.items() if ScoreFolder(start / path).digest() != digest]:
            log.warning("%s is of earlier scores: those in %s are others since; %s", what, start / changed[0], way)
