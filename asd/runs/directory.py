"""Run directories: what lies where, what is complete, and what belongs to which configuration.

runs/<name>/<machine>/seed<k>/
    config.yaml            resolved configuration
    model/                 what the detector saved, fit.json, facts.json, training_scores.csv
    scores/                scores of the run's own test clips, see `scores`
    other/<data>/          scores of other recordings, in the same form
    metrics.jsonl          one JSON object per epoch
    DONE                   appears only after model/ and scores/
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from asd.challenge.files import list_machines
from asd.challenge.years import get_year
from asd.core.files import read_json, write_json
from asd.core.runtime import fingerprint, log
from asd.core.storage import fetch
from asd.places import mirrored, written
from asd.runs.lifecycle import TrainingDirectory, directories_with, interrupted
from asd.runs.scores import ScoreFolder, file_hash
from asd.types import AsdError


@dataclass(frozen=True, slots=True)
class RunDirectory(TrainingDirectory):
    """One training of one machine with one seed."""

    @classmethod
    def of(cls, runs: Path, name: str, machine: str, seed: int) -> RunDirectory:
        """The place of a run, existing or not."""
        return cls(runs / name / machine / f"seed{seed}")

    @property
    def machine(self) -> str:
        """Whose clips were learnt."""
        return self.path.parent.name

    def is_done(self, fingerprint: str) -> bool:
        """Whether this exact run, options and data, is complete: its model, thresholds and every score table."""
        promised = {*self.done().get("scorers", ())}
        whole = bool(self.fit_facts()) and promised <= {*self.scores.scorers} and self.scores.has_thresholds()
        return TrainingDirectory.is_done(self, fingerprint) and whole

    def held(self) -> str | None:
        """Fingerprint of the model that lies here, or of a training that was broken off; None where there is none.

        Scores may be made anew by the same model, so it is the model that counts, not DONE; a fusion has none.
        """
        if self.fused_members():
            return self.done().get("fingerprint", "")
        have = self.fit_facts()
        return fingerprint(have["settings"], have["data"]) if have else interrupted(self.path)

    def data_root(self) -> Path | None:
        """The folder of machines that it was trained from; None where the configuration does not tell."""
        settings = self.config()
        if given := settings.get("data") or settings.get("normal"):
            return mirrored(given)
        return get_year(settings["year"]).dev_root if "year" in settings else None

    def asked_machines(self) -> set[str]:
        """The machines that its training was asked for, this one among them."""
        asked, root = self.config().get("machine") or [], self.data_root()
        if asked == ["all"]:
            asked = list_machines(root) if root is not None and root.is_dir() else []
        return {self.machine, *asked}

    def fused_members(self) -> list[str]:
        """The runs that this one was fused of; [] for a run that was trained."""
        return list(self.config().get("members", ()))

    def fit_facts(self) -> dict[str, Any]:
        """What the model in here was fitted with; {} where there is none."""
        return read_json(self.model / "fit.json")

    def section_named(self, given: str) -> str:
        """A section that the model was trained on, such as "03".

        Args:
            given: what it is called; 3 is 03.
        """
        known = self.fit_facts().get("sections", [])
        if not given or (section := given.zfill(2)) not in known:
            raise AsdError(
                f"section={given} is none that the model of {self.machine} was trained on; it has {', '.join(known)}"
            )
        return section

    def confirmed(self) -> list[dict[str, Any]]:
        """What was added to the bank after the training: {"date", "files": [{"path", "kept", "content"}]} each time."""
        changes: list[dict[str, Any]] = read_json(self.model / "confirmed.json").get("changes", [])
        return changes

    def seal_model(
        self,
        folder: Path,
        settings: str,
        data: str,
        sections: Sequence[str],
        version: int = 1,
        clip_s: float | None = None,
        code: str = "",
    ) -> None:
        """Writes fit.json into a finished model.

        Args:
            folder: where the model lies; its files are hashed.
            settings: hash of what decided the model besides its clips.
            clip_s: length of the clips in seconds, by the median.
            code: hash of code and files outside this package that decided the model.
        """
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): file_hash(path) for path in paths}
        facts = {"settings": settings, "data": data, "sections": sorted({*sections}), "version": version}
        facts |= {"code": code} if code else {}
        write_json(folder / "fit.json", facts | {"machine": self.machine, "clip_s": clip_s, "files": files})

    def check_version(self, version: int) -> None:
        """Makes sure that the model, where there is one, was made by this version of its detector."""
        facts = self.fit_facts()
        if facts and (made_by := facts.get("version", 1)) != version:
            raise AsdError(
                f"{self.model} was made by version {made_by} of its detector and this is version {version}, which "
                f"computes other scores: train again with overwrite=true, or under another name="
            )

    def check_code(self, code: str, *, refuse: bool = True) -> None:
        """Makes sure that the model was made by the code and the checkpoint that there are now, or only warns.

        Raises:
            AsdError: it was not.
        """
        if self.fit_facts().get("code", code) == code:
            return
        cause = "the module of the detector or encoder, or its checkpoint, has changed since"
        what = f"{self.model} was made by other code or weights: {cause}"
        if refuse:
            raise AsdError(f"{what}; train again with overwrite=true, or under another name=")
        log.warning("%s; train with overwrite=true makes the model anew", what)

    def check_model(self) -> None:
        """Makes sure that every file of the model is as it was written, and where: for the machine of this folder."""
        facts = self.fit_facts()
        machine = unicodedata.normalize("NFC", self.machine)
        if (other := unicodedata.normalize("NFC", facts.get("machine", machine))) != machine:
            raise AsdError(
                f"{self.model} was fitted on {other} and lies in the folder of {machine}; if it is a copy, remove it, "
                f"else give the folder its name back"
            )
        for name, digest in facts.get("files", {}).items():
            path = self.model / name
            if not path.is_file() or file_hash(path) != digest:
                raise AsdError(
                    f"{path} is missing or damaged; remove {self.model} and train again, with the same options"
                )

    def training_scores(self) -> pd.DataFrame:
        """Scores of the training clips without self-match: the column `file` and one per scorer."""
        self.check_model()
        path = self.model / "training_scores.csv"
        try:
            return pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise AsdError(f"{path} is damaged ({error}); train again, or fuse anew, with overwrite=true") from error

    @property
    def scores(self) -> ScoreFolder:
        """Scores of the run's own test clips."""
        return ScoreFolder(self.path / "scores", self.machine)

    def other_scores(self, root: Path, fingerprint: str) -> ScoreFolder:
        """Where scores of other recordings go: a folder for each set of clips."""
        return ScoreFolder(self.path / "other" / f"{place_name(root)}-{fingerprint[:8]}", self.machine)

    def scores_of(self, root: Path) -> ScoreFolder | None:
        """The latest scores of the clips under `root`, the run's own or others; None where there are none."""
        place = written(root)
        files = [*self.path.glob("scores/clips.json"), *self.path.glob("other/*/clips.json")]
        folders = [
            ScoreFolder(path.parent, self.machine) for path in sorted(files, key=lambda path: path.stat().st_mtime)
        ]
        found = [folder for folder in folders if (data := folder.data()) and data.root == place]
        return found[-1] if found else None

    def default_scorer(self) -> str:
        """The scorer that stands for the run."""
        name = self.done().get("default")
        if not isinstance(name, str):
            path = self.path / "DONE"
            raise AsdError(f"{path} is damaged (it names no scorer); remove it and make score writes it anew")
        return name


def place_name(root: Path) -> str:
    """What files about the recordings under `root` are called: the folder's name, without blanks."""
    return re.sub(r"[^\w.-]+", "-", root.resolve().name).strip(".-") or "data"


def run_names(runs: Path) -> list[str]:
    """Names of the runs of which something is complete, sorted; what begins with a dot is none."""
    fetch(runs, without="model")
    names = {done.parents[2].name for done in runs.glob("*/*/seed*/DONE")}
    return sorted(name for name in names if name[0] != ".")


def find_runs(runs: Path, name: str, seed: int | None = None) -> list[RunDirectory]:
    """All complete runs of a name, or those of one seed, sorted by machine and seed."""
    root = runs / name
    fetch(root, without="model")
    if root.is_file():
        raise AsdError(f"{root} is a file, and a run is a folder; name one that train wrote, such as runs/statistics")
    if not root.is_dir():
        names = ", ".join(sorted(p.name for p in runs.glob("*") if p.is_dir() and p.name[0] != ".")) or "none yet"
        raise AsdError(f"{root} does not exist (runs there: {names}); train first: make train machine=... name={name}")
    found = [run for run in directories_with(RunDirectory, root, "DONE") if seed is None or run.seed == seed]
    originals: dict[tuple[str, str], RunDirectory] = {}
    for run in found:
        original = originals.setdefault((run.machine, run.done().get("fingerprint", str(run.path))), run)
        if original is not run or run.seed not in run.config().get("seeds", [run.seed]):
            raise AsdError(
                f"{run.path} is a copy of a training with another seed, not one of its own; remove it, and train with "
                f"seeds={run.seed} for one more seed"
            )
    if not found:
        if inner := run_names(root):
            raise AsdError(f"{root} is a folder of runs; name one of them: {', '.join(inner)}")
        wanted = "" if seed is None else f" with seed={seed}"
        raise AsdError(f"{root} holds no complete run{wanted}; start the same make train again: it resumes")
    return found


def begun_runs(runs: Path, name: str) -> list[RunDirectory]:
    """Runs of a name that were begun and are not complete, sorted by machine and seed."""
    done = {*directories_with(RunDirectory, runs / name, "DONE")}
    return [run for run in directories_with(RunDirectory, runs / name, "config.yaml") if run not in done]


def same_seeds(runs: Sequence[RunDirectory]) -> None:
    """Raises AsdError unless every machine was trained with the same seeds."""
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(run.machine, []).append(run.seed)
    if len({tuple(value) for value in seeds.values()}) > 1:
        listing = "; ".join(f"{machine} {','.join(map(str, s))}" for machine, s in seeds.items())
        raise AsdError(f"the machines have different seeds ({listing}); train the missing ones, then go on")
