"""Run directories of event detection: what lies where, written whole and read back.

runs/sed/<name>/seed<k>/
  config.yaml                          resolved settings, classes included
  model/weights.safetensors            student, teacher, and the scale on which they hear
  model/decoding.json                  windows and thresholds, tuned on validation, of each
  metrics.jsonl                        one JSON object per epoch
  scores/<model>/<part>/<clip>.tsv     onset offset <class> <class> ..., after the median filter
  scores/<model>/<part>.clips.tsv      filename <class> <class> ..., probabilities of the clips
  events/<model>/<part>.tsv            filename onset offset event_label: what was found
  DONE                                 appears only after all of the above
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

from asd.core.runtime import atomic
from asd.runs import read_json, write_json, write_text
from asd.sed.tables import STRONG_COLUMNS
from asd.types import AsdError

MODELS = ("student", "teacher")

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class SedRun:
    """One training with one seed."""

    path: Path

    @property
    def seed(self) -> int:
        """Of the training."""
        return int(self.path.name.removeprefix("seed"))

    @property
    def weights(self) -> Path:
        """File of both networks."""
        return self.path / "model" / "weights.safetensors"

    @property
    def decoding(self) -> Path:
        """File of the windows and thresholds."""
        return self.path / "model" / "decoding.json"

    def fingerprint(self) -> str | None:
        """What the complete run was made with; None where it is not complete."""
        return read_json(self.path / "DONE").get("fingerprint")

    def finish(self, fingerprint: str) -> None:
        """Writes DONE: all outputs exist."""
        write_json(self.path / "DONE", {"fingerprint": fingerprint})

    def config(self) -> dict[str, Any]:
        """The resolved settings."""
        content: dict[str, Any] = yaml.safe_load((self.path / "config.yaml").read_text())
        return content

    def write_config(self, settings: dict[str, Any]) -> None:
        """Writes the resolved settings."""
        write_text(self.path / "config.yaml", yaml.safe_dump(settings, sort_keys=False))

    def epochs(self) -> list[dict[str, Any]]:
        """What the training logged, an object per epoch."""
        return [json.loads(line) for line in (self.path / "metrics.jsonl").read_text().splitlines()]

    def frames(self, model: str, part: str) -> dict[str, pd.DataFrame]:
        """Scores of the frames by file name: onset, offset and a column per class.

        Raises:
            AsdError: the part was not scored.
        """
        clips = self.clips(model, part)
        folder = self.path / "scores" / model / part
        return {name: pd.read_csv(folder / f"{Path(name).stem}.tsv", sep="\t") for name in clips.index}

    def clips(self, model: str, part: str) -> pd.DataFrame:
        """Probabilities of the clips: a row per file name, a column per class.

        Raises:
            AsdError: the part was not scored.
        """
        path = self.path / "scores" / model / f"{part}.clips.tsv"
        if not path.exists():
            known = ", ".join(sorted(p.name[: -len(".clips.tsv")] for p in path.parent.glob("*.clips.tsv")))
            raise AsdError(f"{self.path} has no scores of {part}; it has those of {known or 'nothing'}")
        return pd.read_csv(path, sep="\t", index_col="filename")


def find_runs(runs: Path, name: str, seeds: Sequence[int] | None = None) -> list[SedRun]:
    """Complete runs of a name, by seed.

    Raises:
        AsdError: there is none.
    """
    found = [SedRun(done.parent) for done in (runs / name).glob("seed*/DONE")]
    found = sorted((run for run in found if seeds is None or run.seed in seeds), key=lambda run: run.seed)
    if not found:
        names = ", ".join(sorted({p.parent.parent.name for p in runs.glob("*/seed*/DONE")})) or "none yet"
        raise AsdError(
            f"{runs / name} holds no complete run (runs there: {names}); train first: "
            f"python -m asd sed train name={name}"
        )
    return found


def write_part(
    run: SedRun,
    model: str,
    part: str,
    classes: Sequence[str],
    frames: dict[str, Array],
    clips: dict[str, Array],
    events: Sequence[tuple[str, float, float, str]],
    durations_s: dict[str, float],
    hop_s: float,
) -> None:
    """Writes what a model says of the clips of a part; a part already there is replaced.

    Args:
        run: where.
        model: one of `MODELS`.
        part: name of the clips' folder.
        classes: columns.
        frames: (frames, classes) smoothed scores, by file name.
        clips: (classes,) probabilities, by file name.
        events: found (filename, onset, offset, label).
        durations_s: of each clip, by file name.
        hop_s: seconds from frame to frame.
    """
    folder = run.path / "scores" / model
    with atomic(folder / part) as temporary:
        temporary.mkdir(parents=True)
        for name, scores in frames.items():
            edges_s = np.clip((np.arange(len(scores) + 1) - 0.5) * hop_s, 0.0, durations_s[name])
            table = pd.DataFrame({"onset": edges_s[:-1].round(6), "offset": edges_s[1:].round(6)})
            table[list(classes)] = scores
            path = temporary / f"{Path(name).stem}.tsv"
            table.to_csv(path, sep="\t", index=False, float_format="%.7g")
    whole = pd.DataFrame(clips, index=list(classes)).T.rename_axis("filename")
    found = pd.DataFrame(list(events), columns=list(STRONG_COLUMNS))
    with atomic(run.path / "events" / model / f"{part}.tsv") as temporary:
        found.to_csv(temporary, sep="\t", index=False)
    with atomic(folder / f"{part}.clips.tsv") as temporary:  # last: it says that the part is complete
        whole.to_csv(temporary, sep="\t", float_format="%.7g")
