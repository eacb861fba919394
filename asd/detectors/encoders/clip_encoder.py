"""What the detector `embedding` asks of an encoder: whole clips to vectors, in one part or in several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import nn

from asd.data.recordings import Recordings
from asd.scoring.references import FloatArray


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

        An interrupted fit goes on where it stopped.

        Raises:
            AsdError: the recordings or the options do not go with this encoder.
        """

    @abstractmethod
    def embed(self, recordings: Recordings) -> list[FloatArray]:
        """Parts of the embeddings, each (clips, dims); a back end is fitted to each part.

        Raises:
            AsdError: an embedding that is not finite; names its clip.
        """

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What a submission declares of it: fields of `challenge.system_meta.SystemFacts`."""
