"""A detector of your own, complete: README names this file, and `tests/test_loudness.py` runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from asd.core.files import load_tensors, save_tensors
from asd.data.recordings import Recordings
from asd.detectors import DetectorSettings
from asd.detectors.base import Detector, RunContext, Scores


class LoudnessSettings(DetectorSettings):
    """Options: arguments of the detector, and `loudness.floor_db=` on the command line."""

    floor_db: float = Field(-120.0, description="level of what is more silent than this")


class Loudness(Detector):
    """How far the level of a clip lies from the usual one, in dB."""

    settings_type = LoudnessSettings
    scorers = ("level",)

    def __init__(self, context: RunContext, settings: LoudnessSettings | None = None) -> None:
        super().__init__(context)
        self.settings = settings or LoudnessSettings()
        self.usual_db = 0.0

    def fit(self, recordings: Recordings) -> None:
        """Takes the median level of the training clips."""
        self.usual_db = float(np.median(self._levels_db(recordings)))

    def score(self, recordings: Recordings) -> Scores:
        """Distances in dB, (clips,)."""
        return {"level": np.abs(self._levels_db(recordings) - self.usual_db)}

    def save(self, directory: Path) -> None:
        """Writes weights.safetensors."""
        usual = torch.tensor(self.usual_db, dtype=torch.float64)
        save_tensors(directory / "weights.safetensors", {"usual_db": usual})

    def load(self, directory: Path) -> None:
        """Reads what `save` wrote."""
        self.usual_db = load_tensors(directory / "weights.safetensors")[0]["usual_db"].item()

    def facts(self) -> Mapping[str, Any]:
        """What the meta file of a submission declares."""
        return {"total_parameters": 1, "acoustic_features": "level", "machine_learning_method": "median"}

    def _levels_db(self, recordings: Recordings) -> npt.NDArray[np.float64]:
        power = np.array([np.square(recordings.waveform(i)).mean() for i in range(len(recordings))])
        return 10 * np.log10(np.maximum(power.astype(np.float64), 10 ** (self.settings.floor_db / 10)))
