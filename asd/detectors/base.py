"""What every detector is: fitted on normal recordings, it scores any clip by each scorer; and every encoder of clips.

Conventions: scores are float64 of shape (clips,), higher = more anomalous; one training serves several
scorers (ways to turn what was learnt into a number), the first of which is the default.
Scores do not depend on batch size or on the order of the clips.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from asd.core.checkpoint import load_into
from asd.core.files import load_tensors
from asd.data.recordings import Recordings, in_memory, joined
from asd.data.supplemental import NOTHING, Supplement
from asd.detectors import DetectorSettings
from asd.scoring.references import FloatArray
from asd.types import NEAR, AsdError, Clip, FrontEnd, Split

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
        supplement: what there is to learn from besides a machine's training clips.
        code: hash of what computes the scores and is no part of this package, see `core.runtime.own_code`.
        front_end: that of the recordings which the detector is fitted on; for waveforms that are in no file.
        is_outside_run: the clips to score are other ones each time, as in `asd.fit`: nothing of them is kept.
    """

    device: torch.device
    cache: Path
    directory: Path
    seed: int = 0
    fingerprint: str = ""
    sample_rate_hz: int = 16000
    supplement: Supplement = NOTHING
    front_end: FrontEnd = NEAR
    code: str = ""
    is_outside_run: bool = False

    def cache_of(self, recordings: Recordings) -> Path | None:
        """Where features of recordings are kept; None where nobody would ask for them again."""
        return None if self.is_outside_run and recordings.clips[0].split is Split.TEST else self.cache

    def all_normals(self, recordings: Recordings) -> Recordings:
        """The training clips first, and all other normal recordings."""
        extra = self.supplement.extra_normals
        return recordings if extra is None else joined([recordings, extra])


class Detector(ABC):
    """Base of all detectors.

    A subclass names its model of options in `settings_type`; that model is the argument of its constructor.

    Args:
        context: where it works.
        settings: its options; None: their defaults.
    """

    settings_type: ClassVar[type[DetectorSettings]] = DetectorSettings
    version: int = 1  # raised with every change of what is fitted, scored or stored: models of others are refused
    scorers: tuple[str, ...] = ()  # the first is the default

    def __init__(self, context: RunContext, settings: DetectorSettings | None = None) -> None:
        del settings
        self.context = context
        # Values the decision threshold is fitted on, where they are not the training clips' scores.
        self.calibration: dict[str, npt.NDArray[np.float64]] = {}

    @abstractmethod
    def fit(self, recordings: Recordings) -> None:
        """Learns from normal training clips; resumes where an interrupted fit in the directory of the run stopped.

        What else there is to learn from is in `context.supplement`.
        """

    @abstractmethod
    def score(self, recordings: Recordings) -> Scores:
        """Scores of any clips: {scorer: (clips,)}."""

    def refit(self, recordings: Recordings) -> None:
        """Fits the bank of normal clips anew to the training clips and more of the kind; a trained network stays.

        `AsdError` where the detector keeps no bank: more normal clips change nothing then but by training.
        """
        raise AsdError(
            f"detector={type(self).__name__.lower()} keeps no bank of normal clips; put the recordings into train/ and "
            f"train again"
        )

    def score_waveforms(
        self, waveforms: Sequence[npt.NDArray[np.float32]], sample_rate_hz: int, clips: Sequence[Clip] | None = None
    ) -> Scores:
        """Scores of waveforms that are in no file: {scorer: (waveforms,)}.

        Args:
            waveforms: each (samples,), or (microphones, samples) for a front end that needs both.
            sample_rate_hz: the one that the detector was fitted for.
            clips: what is known of them, such as the section; None: nothing.

        Raises:
            AsdError: another sample rate, a microphone that is missing, or samples that no recording holds.
        """
        if sample_rate_hz != self.context.sample_rate_hz:
            raise AsdError(
                f"sample_rate_hz={sample_rate_hz} is not the {self.context.sample_rate_hz} Hz that the detector was "
                f"fitted for; resample the waveforms"
            )
        return self.score(in_memory(waveforms, sample_rate_hz, clips, self.context.front_end))

    def score_training(self, recordings: Recordings) -> Scores:
        """Scores of the clips it was fitted on, without any clip meeting itself.

        The same as `score` for models that hold no copies of training clips.
        """
        return self.score(recordings)

    def embed(self, recordings: Recordings) -> npt.NDArray[np.float64] | None:
        """Where the detector sees clips: vectors (clips, dims), near for clips that are alike to it.

        None for a detector that knows a clip as something else than a vector.
        """
        del recordings
        return None

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Writes the fitted model: safetensors and JSON, no pickle."""

    @abstractmethod
    def load(self, directory: Path) -> None:
        """Reads what `save` wrote; `AsdError` where it is missing, damaged or of another configuration."""

    def load_weights(self, path: Path) -> None:
        """Takes weights trained elsewhere instead of fitting; `AsdError` where they are of no use to the detector."""
        raise AsdError(
            f"weights={path} fits no {type(self).__name__.lower()} detector; give detector=autoencoder, "
            f"or train without weights="
        )

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """What a submission declares of the system: fields of `challenge.system_meta.SystemFacts`."""


def require_finite(
    vectors: FloatArray, recordings: Recordings, what: str, way: str = "repair or remove the recording"
) -> None:
    """Refuses vectors (clips, dims) that are not finite: no back end shall make a number of them.

    Args:
        vectors: one for each clip.
        recordings: the clips.
        what: name of the vectors in the message, such as "the embedding".
        way: what the user can do, as the end of the message.

    Raises:
        AsdError: names the first recording whose vector is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise AsdError(
            f"{what} of {recordings.clips[bad[0]].path} holds NaN or infinity ({len(bad)} of {len(vectors)} clips); "
            f"{way}"
        )


class ClipEncoder(ABC):
    """Recordings to embeddings.

    Attributes:
        module: what was learnt is its `state_dict`.
        origin: hash of what was not learnt here; "" where there is nothing of that kind.
    """

    module: nn.Module
    origin: str = ""

    @abstractmethod
    def fit(self, recordings: Recordings) -> None:
        """Learns from normal training clips of a machine, and from the supplement of the run's context.

        An interrupted fit goes on where it stopped. `AsdError` where recordings or options do not go with this encoder.
        """

    @abstractmethod
    def embed(self, recordings: Recordings) -> list[FloatArray]:
        """Parts of the embeddings, each (clips, dims), for a back end each; `AsdError` for one that is not finite."""

    def load(self, path: Path) -> None:
        """Reads what was learnt, the `module.state_dict` in a file; `AsdError` where it is of another network."""
        load_into(self.module, load_tensors(path)[0], path)

    def backend_options(self, part: int) -> dict[str, Any]:
        """Options of the back end `knn_relative` of a part, by its number in the order of `embed`."""
        return {}

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What a submission declares of it: fields of `challenge.system_meta.SystemFacts`."""
