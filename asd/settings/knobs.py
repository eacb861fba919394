"""What settings are made of: a validated group of knobs, and lists that come as words with commas."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _split(value: Any) -> Any:
    if isinstance(value, str):
        value = unicodedata.normalize("NFC", value)  # as the names of machines are, see `challenge.files`
        return [part.strip() for part in value.split(",")] if value else []
    return [value] if isinstance(value, int) else value  # a YAML file says seed: 3


Names = Annotated[list[str], BeforeValidator(_split)]
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], BeforeValidator(_split), Field(min_length=1)]
Numbers = Annotated[list[Annotated[int, Field(ge=1)]], BeforeValidator(_split)]
Levels = Annotated[list[float], BeforeValidator(_split), Field(min_length=1)]
Sizes = Annotated[list[Annotated[int, Field(ge=16)]], BeforeValidator(_split)]

# Knobs that change no result, and what a hash of settings says of them: what they have always been by default.
_WITHOUT_EFFECT = {"tensorboard": False, "memory_gib": 4.0}


def deciding(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs for a hash: those that change no result have one value, whatever they are."""
    return {name: _WITHOUT_EFFECT.get(name, value) for name, value in knobs.items()}


class Section(BaseModel):
    """A group of knobs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Knobs outside its own section that a detector takes: a key of `Run`, or a section spread out.
    also_takes: ClassVar[tuple[str, ...]] = ()

    def least_samples(self) -> int:
        """Shortest clip that a detector with this input can use."""
        return 1


class Loop(Section):
    """Knobs that every training by gradient has; `asd.core.train_settings` says what they do."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "float32", description="float32, bfloat16, float16; auto: bfloat16 on a GPU, float32 on a CPU"
    )
    clip_norm: float | None = Field(None, gt=0, description="longest gradient; a longer one is shortened")
    accumulate: int = Field(1, ge=1, description="pieces that a batch is cut into, to save memory")
    tensorboard: bool = Field(False, description="also write curves for TensorBoard")
