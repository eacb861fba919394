"""The options of the detectors: each model is the argument of a detector and its part of the command line.

Nothing here loads torch, so that `--help` is quick. The options of `embedding` are in `encoders.recipe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from asd.core.train_settings import TrainSettings
from asd.options import Names, Settings

LEAST_SAMPLES = 2048  # an eighth of a second at 16 kHz


class DetectorSettings(Settings):
    """What every detector can be asked; one of its own adds fields."""

    @property
    def is_joint(self) -> bool:
        """Whether the detector also learns from the training clips of the other machines."""
        return False

    def least_samples(self) -> int:
        """Shortest clip that the detector can use."""
        return 1


class SearchSettings(Settings):
    """How back ends search their bank of training vectors."""

    neighbours: int | None = Field(
        None, ge=1, description="k of the k-NN back ends; by default what each stands for"
    )
    index: Literal["auto", "flat", "ivf"] = Field(
        "auto", description="faiss index of the k-NN back ends: flat is exact, ivf for millions of rows"
    )

    def search_options(self, names: Sequence[str], device: object) -> dict[str, dict[str, Any]]:
        """What `scoring.backends.backend_named` is to be given for each of these back ends.

        Raises:
            AsdError: there is none of a name, or the options above are given and none of them searches.
        """
        from asd.scoring.backends import search_options  # brings scikit-learn

        return search_options(names, device=str(device), neighbours=self.neighbours, index=self.index)


class StatisticsSettings(SearchSettings, DetectorSettings):
    """Statistics of clips, and what scores them."""

    views: Names = Field(["all"], description="groups of clip statistics or single views, or all groups")
    backend: str = Field("knn_relative", description="back end that scores a view")

    def least_samples(self) -> int:
        """Some frames for the envelopes to move in."""
        return LEAST_SAMPLES


class AutoencoderSettings(DetectorSettings):
    """Input and training of the autoencoder; the defaults are the official baseline's."""

    n_fft: int = Field(1024, ge=16, description="window of the spectrogram in samples")
    hop_samples: int = Field(512, ge=1, description="step between frames in samples")
    n_mels: int = Field(128, ge=2, description="mel bands")
    n_frames: int = Field(5, ge=1, description="consecutive frames per input vector")
    compatible: bool = Field(
        False, description="reproduce the official baseline's code, with its peculiarities"
    )
    training: TrainSettings = TrainSettings()

    def least_samples(self) -> int:
        """One window: frames are centred, so the first needs no samples before the second."""
        return (self.n_frames - 1) * self.hop_samples or 1
