"""Run directories: what lies where, what is complete, and what belongs to which configuration."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from safetensors import SafetensorError, safe_open

from asd.challenge.years import YEARS, get_year
from asd.core.files import alone, read_json, read_yaml, remove, write_json, write_text
from asd.core.runtime import file_hash, fingerprint, log
from asd.places import mirrored, place_name, unreadable, written
from asd.runs.scores import ScoreFolder
from asd.types import AsdError

STATE = "state.safetensors"
_FIT_FACTS = {"settings", "data", "version", "sections", "machine", "files"}  # keys that fit.json has at least


@dataclass(frozen=True, slots=True)
class TrainingDirectory:
    """The place of one training with one seed, of a detector or of event detection; existing or not."""

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

    def alone(self, *, patient: bool = False) -> AbstractContextManager[None]:
        """Keeps other commands from working here; where one is at work, a patient command waits, others are refused."""
        busy = f"another command works on {self.path}; wait until it is done"
        return alone(self.path, busy=None if patient else busy)

    def completed_ns(self) -> int:
        """When it was last completed, in nanoseconds; 0 while it is not. Another moment may mean another model."""
        try:
            return (self.path / "DONE").stat().st_mtime_ns
        except OSError:
            return 0

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
        return read_yaml(path, advice="; remove it and train again with the same options") if path.exists() else {}

    def epochs(self) -> list[dict[str, Any]]:
        """What the training logged, an object per epoch."""
        return [json.loads(line) for line in (self.path / "metrics.jsonl").read_text("utf-8").splitlines()]

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

    def held_fingerprint(self) -> str | None:
        """Fingerprint of the training that lies here, complete or broken off; None where the place is free."""
        return self.done().get("fingerprint") or interrupted_fingerprint(self.path)

    def make_way(self, fingerprint: str, *, overwrite: bool) -> None:
        """Makes sure that a training may begin or go on here; with `overwrite`, one of another fingerprint goes."""
        if self.held_fingerprint() in (None, fingerprint):
            return
        if not overwrite:
            raise AsdError(
                f"{self.path} was trained with another configuration or on other clips; give the same options again, "
                f"choose another name=, or train anew with overwrite=true"
            )
        remove(self.path)


@dataclass(frozen=True, slots=True)
class RunDirectory(TrainingDirectory):
    """One training of one machine with one seed; ARCHITECTURE.md lists its files in "The run directory"."""

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

    def held_fingerprint(self) -> str | None:
        """Fingerprint of the model that lies here, or of a training that was broken off; None where there is none."""
        # The model counts, not DONE: it may make scores anew. A fusion has none.
        if self.fused_members():
            return self.done().get("fingerprint", "")
        have = self.fit_facts()
        return fingerprint(have["settings"], have["data"]) if have else interrupted_fingerprint(self.path)

    def data_root(self) -> Path | None:
        """The folder of machines that it was trained from; None where the configuration does not tell."""
        settings = self.config()
        if given := settings.get("data") or settings.get("normal"):
            return mirrored(given)
        return get_year(settings["year"]).dev_root if "year" in settings and "members" not in settings else None

    def years(self) -> list[int]:
        """The challenge years that it, or the members of a fused one, was trained with; none where it does not tell."""
        config = self.config()
        found = config.get("years") or config.get("year")
        known = [year for year in (found if isinstance(found, list) else [found]) if year is not None]
        if strange := [year for year in known if year not in YEARS]:
            way = f"write one of {', '.join(map(str, YEARS))} there"
            raise AsdError(f"{self.path / 'config.yaml'} holds year={strange[0]!r}; {way}")
        return known

    def sample_rate_hz(self) -> int:
        """Of what it has learnt from; `AsdError` where its configuration does not tell."""
        try:
            return int(self.config()["sample_rate_hz"])
        except (KeyError, TypeError, ValueError) as error:
            what = f"{self.path}/config.yaml is missing or damaged (it tells no sample_rate_hz)"
            raise AsdError(f"{what}; copy it again, or start the same train again") from error

    def fused_members(self) -> list[str]:
        """The runs that this one was fused of; [] for a run that was trained."""
        return list(self.config().get("members", ()))

    def fit_facts(self) -> dict[str, Any]:
        """What the model in here was fitted with; {} where there is none."""
        path = self.model / "fit.json"
        if (facts := read_json(path)) and (lacking := _FIT_FACTS - facts.keys()):
            raise AsdError(f"{path} is damaged (it has no {min(lacking)}); remove {self.model} and train again")
        return facts

    def confirmed(self) -> list[dict[str, Any]]:
        """What was added to the bank after the training: {"date", "files": [{"path", "kept", ...}]} each time."""
        return list(read_json(self.model / "confirmed.json").get("changes", []))

    def seal_model(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Writes fit.json into the folder of a finished model: facts of its fit, and the hash of each of its files."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): file_hash(path) for path in paths}
        write_json(folder / "fit.json", {**facts, "machine": self.machine, "files": files})

    @contextmanager
    def changing(self) -> Iterator[None]:
        """It is not complete meanwhile; an error or interruption leaves it as it was, or says what completes it."""
        done, aside, before = self.path / "DONE", self.path / ".DONE", self.fit_facts()
        done.replace(aside)
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, Exception) and self.fit_facts() == before:  # the complete model is still there
                aside.replace(done)
                raise
            way = f"the change of {self.path} was broken off"
            way += "; start the same train or enroll again, which completes the run"
            if isinstance(error, (AsdError, KeyboardInterrupt)):
                raise type(error)(f"{error}; {way}".removeprefix("; ")) from error
            log.error("%s", way)  # as where memory runs out
            raise
        finally:
            aside.unlink(missing_ok=True)

    def check_version(self, version: int) -> None:
        """Makes sure that the model, where there is one, was made by this version of its detector."""
        if (made_by := self.fit_facts().get("version", version)) != version:
            raise AsdError(
                f"{self.model} was made by version {made_by} of its detector and this is version {version}, which "
                f"computes other scores: train again with overwrite=true, or under another name="
            )

    def check_code(self, code: str, *, refuse: bool = True) -> None:
        """Refuses a model that was made by other code or another checkpoint than there are now, or only warns."""
        if self.fit_facts().get("code", code) == code:
            return
        cause = "the module of the detector or encoder, or its checkpoint, has changed since"
        what = f"{self.model} was made by other code or weights: {cause}"
        if refuse:
            raise AsdError(f"{what}; train again with overwrite=true, or under another name=")
        log.warning("%s; train with overwrite=true makes the model anew", what)

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Warns where a configuration, such as a config.yaml that was cut off, is not that of the model."""
        known = fingerprint(settings, self.seed, "")
        if self.fit_facts().get("settings", known) != known and not self.config().get("weights"):
            log.warning(
                f"{self.path}/config.yaml holds other options than the model was fitted with (was it cut off or "
                f"edited?): scores may be wrong; copy it again, or start the same train again"
            )

    def check_model(self) -> None:
        """Makes sure that every file of the model is as it was written, and where: for the machine of this folder."""
        if not (facts := self.fit_facts()) and not self.fused_members():
            raise AsdError(f"{self.model / 'fit.json'} is missing; start the same train or enroll again")
        machine = unicodedata.normalize("NFC", self.machine)
        if (other := unicodedata.normalize("NFC", facts.get("machine", machine))) != machine:
            raise AsdError(
                f"{self.model} was fitted on {other} and lies in the folder of {machine}; if it is a copy, remove it, "
                f"else give the folder its name back"
            )
        for name in facts.get("files", {}):
            self._check_file(name, facts)

    def _check_file(self, name: str, facts: Mapping[str, Any]) -> None:
        path = self.model / name
        if (digest := facts.get("files", {}).get(name)) and (not path.is_file() or file_hash(path) != digest):
            raise AsdError(f"{path} is missing or damaged; remove {self.model} and train again, with the same options")

    def training_scores(self) -> pd.DataFrame:
        """Scores of the training clips without self-match: the column `file` and one per scorer."""
        path = self.model / "training_scores.csv"
        self._check_file(path.name, self.fit_facts())
        try:
            return pd.read_csv(path)
        except (OSError, ValueError) as error:
            sentence = f"{path} is damaged ({error}); train again, or fuse anew, with overwrite=true"
            raise unreadable(path, error, sentence) from error

    @property
    def scores(self) -> ScoreFolder:
        """Scores of the run's own test clips."""
        return ScoreFolder(self.path / "scores", self.machine)

    def other_scores(self, root: Path, fingerprint: str) -> ScoreFolder:
        """Where scores of other recordings go: a folder for each set of clips."""
        return ScoreFolder(self.path / "other" / f"{place_name(root)}-{fingerprint[:8]}", self.machine)

    def scores_of(self, root: Path) -> ScoreFolder | None:
        """The latest scores of the clips under `root`, the run's own or others; None where there are none."""
        folders = [self.scores, *(ScoreFolder(path, self.machine) for path in self.path.glob("other/*"))]
        found = [folder for folder in folders if (data := folder.data()) and data.root == written(root)]
        return max(found, key=lambda folder: (folder.path / "clips.json").stat().st_mtime, default=None)

    def default_scorer(self) -> str:
        """The scorer that stands for the run."""
        name = self.done().get("default")
        if not isinstance(name, str):
            raise AsdError(f"{self.path}/DONE is damaged (it names no scorer); remove it, and `score` writes it anew")
        return name


def interrupted_fingerprint(folder: Path) -> str | None:
    """Fingerprint of the training that was stopped in a folder; None where there is none to resume."""
    path = folder / STATE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        way = "remove it, and the same command trains from the beginning"
        raise AsdError(f"{path} is damaged or no safetensors file ({error}); {way}") from error
    return str(facts.get("fingerprint", ""))
