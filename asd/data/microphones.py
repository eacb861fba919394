"""Front ends: which microphones a run uses, and what is done with them.

The signal processing itself is in `frontends`, which brings torch; settings and file checks do
without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

FrontEndName = Literal["near", "far", "mean", "cancel", "subtract"]
NoiseUse = Literal["ignore", "mix", "negatives", "profile"]  # of recordings without the machine
CleanUse = Literal["ignore", "references", "activity"]  # of recordings of the machine alone

Channel = int | Literal["mean"]  # of a file, counted from 0, or the mean of all

FRONT_END_FILE = "front_end.json"  # in a model's folder: the front end that it was trained with


@dataclass(frozen=True)
class FrontEnd:
    """From all microphones of a recording to one waveform.

    Attributes:
        name: one of `frontends.FRONT_ENDS`.
        residual: detectors that know a clip as a vector take this much of the far microphone's vector off.
        channel: of the file that is the near microphone; None: the first.
        profile: (bins,) magnitudes of a known noise that is subtracted; none where empty.
        activity: (bands + 1,) weights by which frames without the machine are turned down; none where empty.
    """

    name: FrontEndName = "near"
    residual: float = 0.0
    channel: Channel | None = None
    profile: tuple[float, ...] = ()
    activity: tuple[float, ...] = ()

    @property
    def n_microphones(self) -> int:
        """How many channels a file must have."""
        return 1 if self.name == "near" and not self.residual else 2

    @property
    def is_plain(self) -> bool:
        """Whether the waveform is what the near microphone recorded."""
        return (self.name, self.profile, self.activity) == ("near", (), ())

    def far(self) -> FrontEnd:
        """The far microphone by itself, for the residual view."""
        return FrontEnd("far")

    def key(self) -> list[Any]:
        """What decides the waveform: plain values, for a hash."""
        own = [self.name, self.profile, self.activity]
        return own if self.channel is None else [*own, self.channel]

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> FrontEnd:
        """A front end by its plain values."""
        fields: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in values.items()}
        return cls(**fields)

    def description(self) -> str | None:
        """What a submission says of it; None where there is nothing to say."""
        parts = (
            _WORDS[self.name],
            "" if self.channel is None else f"channel {self.channel}",
            f"minus {self.residual:g} times the far microphone's vector" if self.residual else "",
            "spectral subtraction of a noise profile" if self.profile else "",
            "frames weighted by machine activity" if self.activity else "",
        )
        return ", ".join(part for part in parts if part) or None


NEAR = FrontEnd()

_WORDS = {
    "near": "",
    "mean": "mean of both microphones",
    "far": "far microphone",
    "cancel": "least-squares cancellation of the far microphone",
    "subtract": "spectral subtraction of the far microphone",
}
