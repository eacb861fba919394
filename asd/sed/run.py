"""Run directories of event detection: predictions of a trained run, written whole and read back.

runs/sed/<name>/seed<k>/                 as in `asd.runs.directory`, and
  model/weights.safetensors              student, teacher, and the scale of their input
  model/decoding.json                    windows and thresholds, tuned on validation, of each
  scores/<part>.json                     where the recordings lay, and the hash of their contents
  scores/<model>/<part>/<clip>.tsv       onset offset <class> <class> ..., after the median filter
  scores/<model>/<part>.clips.tsv        filename <class> <class> ..., probabilities of the clips
  events/<model>/<part>.tsv              filename onset offset event_label: detected events
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError

from asd.core.files import atomic, read_json, read_yaml, write_json
from asd.core.storage import fetch
from asd.places import place_name, unreadable, written
from asd.runs import TrainingDirectory, directories_with
from asd.sed.config import Train
from asd.sed.dataset import Part
from asd.sed.tables import STRONG_COLUMNS
from asd.types import AsdError

MODELS = ("student", "teacher")

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class SedRun(TrainingDirectory):
    """One training with one seed."""

    def settings(self) -> Train:
        """What a complete run was trained with, classes included."""
        path, way = self.path / "config.yaml", "; train again with the same options"
        try:
            content = read_yaml(path, advice=way)
            return Train.model_validate({**content, "name": "sed"})  # its own may be of a time of fewer rules
        except ValidationError as error:
            first = error.errors()[0]
            option = ".".join(map(str, first["loc"]))
            raise AsdError(f"{path} holds {option}={first['input']}, which does not fit{way}") from error

    @property
    def weights(self) -> Path:
        """File of both networks."""
        return self.model / "weights.safetensors"

    @property
    def decoding(self) -> Path:
        """File of the windows and thresholds."""
        return self.model / "decoding.json"

    def is_done(self, fingerprint: str) -> bool:
        """Whether this exact run, options and data, is complete, its model included."""
        return TrainingDirectory.is_done(self, fingerprint) and self.weights.exists() and self.decoding.exists()

    def decodings(self) -> dict[str, dict[str, Any]]:
        """Windows and thresholds of each model, by its name, in the order of the classes."""
        found, classes, kinds = read_json(self.decoding), self.settings().classes, ("windows_frames", "thresholds")
        try:
            return {m: {kind: {name: found[m][kind][name] for name in classes} for kind in kinds} for m in MODELS}
        except (KeyError, TypeError) as error:
            raise AsdError(
                f"{self.decoding} is missing or damaged; remove it and train again with the same options"
            ) from error

    def part_name(self, folder: Path, fingerprint: str, own: Path) -> str:
        """What the scores of a folder of recordings are called; other recordings' scores are never replaced.

        The parts of `own`, the data folder of the run, keep their names.
        """
        name = place_name(folder)
        known = self.scored(name).get("root")
        if known is None and (self.path / "scores" / MODELS[0] / f"{name}.clips.tsv").exists():
            known = written(own / name)  # scored before runs recorded where
        same = known in (None, written(folder)) or written(folder) == written(own / name)
        return name if same else f"{name}-{fingerprint[:8]}"

    def scored(self, part: str) -> dict[str, Any]:
        """Of a scored part "root", where its recordings lay, and "fingerprint", the hash of their contents."""
        return read_json(self.path / "scores" / f"{part}.json")

    def note(self, part: Part, *, complete: bool) -> None:
        """Writes which recordings the scores of a part are of; until they are complete, of none."""
        root, known = written(part.recordings.clips[0].path.parent), part.recordings.fingerprint if complete else ""
        write_json(self.path / "scores" / f"{part.name}.json", {"root": root, "fingerprint": known})

    def frames(self, model: str, part: str) -> dict[str, pd.DataFrame]:
        """Scores of the frames by file name: onset, offset and a column per class."""
        folder, clips = self.path / "scores" / model / part, self.clips(model, part)
        paths = {name: folder / f"{Path(name).stem}.tsv" for name in clips.index}
        return {name: _read_table(path, [*clips], ("onset", "offset")) for name, path in paths.items()}

    def clips(self, model: str, part: str) -> pd.DataFrame:
        """Probabilities of the clips: a row per file name, a column per class."""
        path = self.path / "scores" / model / f"{part}.clips.tsv"
        if not path.exists():
            known = ", ".join(sorted(p.name[: -len(".clips.tsv")] for p in path.parent.glob("*.clips.tsv")))
            raise AsdError(f"{self.path} has no scores of {part}; it has those of {known or 'nothing'}")
        return _read_table(path, self.settings().classes, index_col="filename")


def _read_table(path: Path, classes: Sequence[str], times: Sequence[str] = (), **options: Any) -> pd.DataFrame:
    """Frames of a clip, which have times, or a row per clip: scores of each class, from 0 to 1."""
    try:
        table = pd.read_csv(path, sep="\t", **options).astype(float)
        if lacking := sorted({*times, *classes} - {*table}):
            raise ValueError(f"it has no column {lacking[0]}")
        if not (table[[*classes]].ge(0) & table[[*classes]].le(1)).all(axis=None):
            raise ValueError("it holds something else than scores from 0 to 1")
        if times:
            onset, offset = (table[time].to_numpy() for time in times)
            if not (np.array_equal(onset[1:], offset[:-1]) and (offset > onset).all()):
                raise ValueError("its frames do not follow each other without a gap")
        return table[[*times, *classes]]
    except (OSError, ValueError) as error:
        sentence = f"{path} is damaged ({error}); python -m asd sed score writes it anew"
        raise unreadable(path, error, sentence) from error


def find_runs(runs: Path, name: str, seeds: Sequence[int] | None = None) -> list[SedRun]:
    """Complete runs of a name, by seed."""
    fetch(runs / name)
    complete = directories_with(SedRun, runs, "DONE")
    found = [run for run in complete if run.path.parent.name == name and (seeds is None or run.seed in seeds)]
    if not found:
        names = ", ".join(sorted({run.path.parent.name for run in complete})) or "none yet"
        raise AsdError(
            f"{runs / name} holds no complete run (runs there: {names}); train first: "
            f"python -m asd sed train name={name}"
        )
    return found


def write_part(
    run: SedRun,
    model: str,
    part: Part,
    config: Train,
    frames: dict[str, Array],
    clips: dict[str, Array],
    events: Sequence[tuple[str, float, float, str]],
) -> None:
    """Writes what a model predicts for the clips of a part; a part already there is replaced.

    Smoothed scores (frames, classes) and probabilities (classes,) are by file name, events (filename, onset, offset,
    label).
    """
    folder = run.path / "scores" / model
    with atomic(folder / part.name) as temporary:
        temporary.mkdir(parents=True)
        for name, scores in frames.items():
            edges_s = np.clip((np.arange(len(scores) + 1) - 0.5) * config.features.hop_s, 0.0, part.durations_s[name])
            table = pd.DataFrame({"onset": edges_s[:-1].round(6), "offset": edges_s[1:].round(6)})
            table[config.classes] = scores
            table.to_csv(temporary / f"{Path(name).stem}.tsv", sep="\t", index=False, float_format="%.7g")
    whole = pd.DataFrame(clips, index=config.classes).T.rename_axis("filename")
    found = pd.DataFrame(list(events), columns=list(STRONG_COLUMNS))
    with atomic(run.path / "events" / model / f"{part.name}.tsv") as temporary:
        found.to_csv(temporary, sep="\t", index=False)
    with atomic(folder / f"{part.name}.clips.tsv") as temporary:
        whole.to_csv(temporary, sep="\t", float_format="%.7g")
