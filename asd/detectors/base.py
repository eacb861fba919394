"""What every detector is: fitted on normal recordings, it gives each clip a score per scorer.

Conventions: scores are float64 of shape (clips,), higher = more anomalous; one training serves several
scorers (ways to turn what was learnt into a number), the first of which is the default.
Scores do not depend on batch size or on the order of the clips.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from asd.data.recordings import Recordings
from asd.detectors.options import DetectorSettings
from asd.types import AsdError, Domain

Scores = dict[str, npt.NDArray[np.float64]]  # scorer -> (clips,)


@dataclass(frozen=True, slots=True)
class RunContext:
    """Where a detector works and on what: device, folders, seed, and the sample rate of its recordings.

    Attributes:
        device: where tensors live.
        cache: features that several runs share.
        directory: what this run may write while it trains (metrics.jsonl, state to resume from).
        seed: fixes every random draw.
        fingerprint: hash of configuration and data, so that a foreign state is refused.
        sample_rate_hz: of every recording.
    """

    device: torch.device
    cache: Path
    directory: Path
    seed: int = 0
    fingerprint: str = ""
    sample_rate_hz: int = 16000


class Detector(ABC):
    """Base of all detectors.

    A subclass names its model of options in `settings_type`; that model is the argument of its constructor.

    Args:
        context: where it works.
        settings: its options; None: their defaults.
    """

    settings_type: ClassVar[type[DetectorSettings]] = DetectorSettings
    scorers: tuple[str, ...]  # the first is the default
    others: Recordings | None = None  # training clips of the other machines, for detectors that learn jointly

    def __init__(self, context: RunContext, settings: DetectorSettings | None = None) -> None:
        del settings
        self.context = context
        # Values the decision threshold is fitted on, where they are not the training clips' scores.
        self.calibration: dict[str, npt.NDArray[np.float64]] = {}

    @abstractmethod
    def fit(self, recordings: Recordings) -> None:
        """Learns from normal training clips; resumes where an interrupted fit in the directory of the run stopped."""

    @abstractmethod
    def score(self, recordings: Recordings) -> Scores:
        """Scores of any clips: {scorer: (clips,)}."""

    def score_training(self, recordings: Recordings) -> Scores:
        """Scores of the clips it was fitted on, without any clip meeting itself.

        The same as `score` for models that hold no copies of training clips.
        """
        return self.score(recordings)

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Writes the fitted model: safetensors and JSON, no pickle."""

    @abstractmethod
    def load(self, directory: Path) -> None:
        """Reads what `save` wrote.

        Raises:
            AsdError: missing, damaged or of another configuration.
        """

    def load_weights(self, path: Path) -> None:
        """Takes weights trained elsewhere instead of fitting.

        Raises:
            AsdError: the detector has no use for them, or they belong to another network.
        """
        raise AsdError(
            f"weights={path} fits no {type(self).__name__.lower()} detector; give detector=autoencoder, "
            f"or train without weights="
        )

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """What a submission declares of the system: fields of `challenge.system_meta.SystemFacts`."""


def is_target(recordings: Recordings) -> npt.NDArray[np.bool_]:
    """Which clips are of the target domain, (clips,); a clip without a known domain counts as source."""
    return np.array([clip.domain is Domain.TARGET for clip in recordings.clips], dtype=bool)
