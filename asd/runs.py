"""Run directories: what lies where, what is complete, and what belongs to which configuration.

runs/<name>/<machine>/seed<k>/
    config.yaml            resolved configuration
    model/                 what the detector saved, fit.json, facts.json, training_scores.csv
    scores/<scorer>.csv    score table (types.SCORE_COLUMNS); thresholds.json beside them
    metrics.jsonl          one JSON object per epoch
    DONE                   appears only after all of the above
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

from asd.core.runtime import atomic
from asd.types import SCORE_COLUMNS, AsdError, Clip, Domain, Label, Split


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """One training of one machine with one seed."""

    path: Path
    machine: str
    seed: int

    @classmethod
    def of(cls, runs: Path, name: str, machine: str, seed: int) -> RunDirectory:
        """The place of a run, existing or not."""
        return cls(runs / name / machine / f"seed{seed}", machine, seed)

    @property
    def model(self) -> Path:
        """Folder of the fitted model."""
        return self.path / "model"

    def is_done(self, fingerprint: str) -> bool:
        """Whether this exact run, configuration and data, is complete."""
        done = read_json(self.path / "DONE").get("fingerprint") == fingerprint
        return done and bool(self.fit_facts())

    def fit_facts(self) -> dict[str, Any]:
        """What the model in here was fitted with; {} where there is none."""
        return read_json(self.model / "fit.json")

    def seal_model(self, folder: Path, settings: str, data: str) -> None:
        """Writes fit.json into the finished model `folder`: what it was fitted with, and hashes of its files."""
        files = {path.name: _file_hash(path) for path in sorted(folder.iterdir())}
        write_json(folder / "fit.json", {"settings": settings, "data": data, "files": files})

    def check_model(self) -> None:
        """Makes sure that every file of the model is as it was written.

        Raises:
            AsdError: one is not.
        """
        for name, digest in self.fit_facts().get("files", {}).items():
            path = self.model / name
            if not path.is_file() or _file_hash(path) != digest:
                raise AsdError(
                    f"{path} is missing or damaged; remove {self.model} and train again, with the same words"
                )

    def training_scores(self) -> pd.DataFrame:
        """Scores of the training clips without self-match: the column `file` and one per scorer."""
        return pd.read_csv(self.model / "training_scores.csv")

    def tables(self) -> dict[str, pd.DataFrame]:
        """All score tables, {scorer: table}."""
        return {path.stem: read_scores(path) for path in sorted((self.path / "scores").glob("*.csv"))}

    def table(self, scorer: str) -> pd.DataFrame:
        """The score table of one scorer.

        Raises:
            AsdError: the run has no such scorer.
        """
        path = self.path / "scores" / f"{scorer}.csv"
        if not path.exists():
            have = ", ".join(sorted(p.stem for p in path.parent.glob("*.csv"))) or "none"
            raise AsdError(f"{self.path} has no scores of scorer={scorer}; it has {have}")
        return read_scores(path)

    def is_labelled(self) -> bool:
        """Whether there are score tables and every test clip has a label."""
        tables = self.tables()
        return bool(tables) and all((table["label"] != "").all() for table in tables.values())

    def finish(self, fingerprint: str, default: str, seconds: float) -> None:
        """Writes DONE: all outputs exist.

        Args:
            fingerprint: hash of everything they depend on.
            default: scorer that stands for the run.
            seconds: what the command that finished the run took for it.
        """
        done = {"fingerprint": fingerprint, "default": default, "seconds": seconds}
        write_json(self.path / "DONE", done)

    def default_scorer(self) -> str:
        """The scorer that stands for the run."""
        name: str = read_json(self.path / "DONE")["default"]
        return name

    def clear(self) -> None:
        """Removes everything of this run."""
        shutil.rmtree(self.path, ignore_errors=True)


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def find_runs(runs: Path, name: str, seed: int | None = None) -> list[RunDirectory]:
    """All complete runs of a name, sorted by machine and seed.

    Raises:
        AsdError: there is no such run, or none of it is complete.
    """
    root = runs / name
    if not root.is_dir():
        names = (
            ", ".join(sorted(p.name for p in runs.glob("*") if p.is_dir() and p.name[0] != ".")) or "none yet"
        )
        raise AsdError(
            f"{root} does not exist (runs there: {names}); train first: make train machine=... name={name}"
        )
    found = [
        RunDirectory(done.parent, done.parent.parent.name, int(done.parent.name.removeprefix("seed")))
        for done in root.glob("*/seed*/DONE")
    ]
    found = [run for run in found if seed is None or run.seed == seed]
    if not found:
        wanted = "" if seed is None else f" with seed={seed}"
        raise AsdError(f"{root} holds no complete run{wanted}; start the same make train again: it resumes")
    return sorted(found, key=lambda run: (run.machine, run.seed))


def same_seeds(runs: Sequence[RunDirectory]) -> None:
    """Raises AsdError unless every machine was trained with the same seeds."""
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(run.machine, []).append(run.seed)
    if len({tuple(value) for value in seeds.values()}) > 1:
        listing = "; ".join(f"{machine} {','.join(map(str, s))}" for machine, s in seeds.items())
        raise AsdError(f"the machines have different seeds ({listing}); train the missing ones, then go on")


def tables_of(runs: Sequence[RunDirectory]) -> dict[str, dict[int, pd.DataFrame]]:
    """Score tables of all machines together: {scorer: {seed: table}}."""
    parts: dict[str, dict[int, list[pd.DataFrame]]] = {}
    for run in runs:
        for scorer, table in run.tables().items():
            parts.setdefault(scorer, {}).setdefault(run.seed, []).append(table)
    return {s: {seed: pd.concat(tables) for seed, tables in by.items()} for s, by in parts.items()}


def score_table(
    clips: Sequence[Clip], scores: npt.NDArray[np.float64], decisions: npt.NDArray[np.int64]
) -> pd.DataFrame:
    """Score table of clips with their scores (clips,) and decisions (clips,).

    Raises:
        AsdError: a score that is NaN or infinite, which no metric and no submission could take.
    """
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise AsdError(
            f"the score of {clips[bad[0]].path} is {scores[bad[0]]} ({len(bad)} of {len(clips)} are not finite); "
            f"train again, with other settings or without the clips that cause it"
        )
    rows = [(c.machine, c.section, c.domain or "", c.split.value, c.label or "", c.name) for c in clips]
    table = pd.DataFrame(rows, columns=list(SCORE_COLUMNS[:6]))
    table["score"], table["decision"] = scores, decisions
    return table


def clips_of(table: pd.DataFrame) -> list[Clip]:
    """The clips of a score table, without folders and attributes."""
    columns: list[list[str]] = table[["file", *SCORE_COLUMNS[:5]]].astype(str).to_numpy().tolist()
    return [
        Clip(
            Path(file),
            machine,
            section,
            Split(split),
            Domain(domain) if domain else None,
            Label(label) if label else None,
        )
        for file, machine, section, domain, split, label in columns
    ]


def write_scores(path: Path, table: pd.DataFrame) -> None:
    """Writes a score table; every score survives to the last bit."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


def read_scores(path: Path) -> pd.DataFrame:
    """Reads a score table.

    Raises:
        AsdError: the file is not one.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if list(table.columns) != list(SCORE_COLUMNS):
            raise ValueError(f"its columns are {', '.join(table.columns)}")
        table["score"] = table["score"].astype(float)  # by Python: the same bits as were written
        table["decision"] = table["decision"].astype(int)
    except (OSError, ValueError) as error:
        raise AsdError(
            f"{path} is not a readable score table ({error}); make score writes it anew"
        ) from error
    return table


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with atomic(path) as temporary, temporary.open("w") as file:
        file.write(text)
        file.flush()
        if temporary.is_file():  # devices and pipes cannot be told to
            os.fsync(file.fileno())


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a JSON file, whole or not at all."""
    write_text(path, json.dumps(values, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object; {} where there is no file.

    Raises:
        AsdError: the file is damaged.
    """
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        return content
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise AsdError(f"{path} is damaged ({error}); remove it and run the same command again") from error


def read_config(run: RunDirectory) -> dict[str, Any]:
    """The resolved configuration of a run; {} where there is none."""
    path = run.path / "config.yaml"
    return yaml.safe_load(path.read_text()) if path.exists() else {}
