"""What options are made of: a validated group of settings, lists written with commas, where jobs run, how to train.

One model per thing is at once the argument of a constructor and a part of the command line: the field is the
option, its `description` the help text. Nothing declares an option twice.

Args:
    names: such as those of machines.
    name, runs: of a run, and the folder of all runs.
    options: values by name, nested.
    stages: models of options by the names of stages.
"""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from asd.places import MOST_NAME_BYTES, TO_MIRROR, is_address, is_table, names_a_folder

T = TypeVar("T", int, str)
_PART = re.compile(r'\s*(?:"([^"]*)"\s*|([^,]*)),')  # in quotes, or without them


def _split_value(value: Any) -> Any:
    if isinstance(value, str):
        value = unicodedata.normalize("NFC", value)  # as the names of machines are, see `challenge.files`
        return split_names(value) if value else []
    return [value] if isinstance(value, int) else value  # a YAML file says seed: 3


def split_names(value: str) -> list[str]:
    """The names in a list with commas; one with a comma of its own stands in double quotes.

    Example:
        >>> split_names('fan, "pump, left"')
        ['fan', 'pump, left']
    """
    return [(quoted or plain).strip() for quoted, plain in _PART.findall(f"{value},")]


def join_names(names: Sequence[str]) -> str:
    """Names as a list with commas that `split_names` reads back."""
    return ",".join(f'"{name}"' if "," in name else name for name in names)


def machine_options(names: Sequence[str]) -> list[str]:
    """The option that names machines in a command; none where all are meant."""
    return [] if [*names] == ["all"] else [f"machine={join_names(names)}"]


def run_options(name: str, runs: Path, *more: str) -> str:
    """The options that name a run in a command, and `more` that follow them, quoted for a shell."""
    place = [] if runs == Path("runs") else [f"runs={runs}"]
    return shlex.join([f"name={name}", *place, *more])


def _not_empty(values: list[str]) -> list[str]:
    if not all(values) or not values:
        raise ValueError("it is empty; name one, several separated by commas, or all")
    return _distinct(values)


def _fit_for_folders(values: list[str]) -> list[str]:
    if unusable := [value for value in values if not names_a_folder(value)]:
        raise ValueError(
            f"{unusable[0]!r} has a slash or begins with a dot, or more than {MOST_NAME_BYTES} bytes, and names a "
            f"folder among the results"
        )
    return values


def _distinct(values: list[T]) -> list[T]:
    if len({*values}) < len(values):
        raise ValueError("name each once")
    return values


def _usable_name(name: str) -> str:
    if not re.fullmatch(r"[^/\\\s.,:][^/\\\s,:]*", name):
        usable = re.sub(r"[/\\\s,:]+", "_", name.strip()).lstrip("._") or "run"
        raise ValueError(
            f"the name of a run has no spaces, slashes, commas or colons and does not begin with a dot; try {usable}"
        )
    if not names_a_folder(name):
        raise ValueError(f"the name of a run has at most {MOST_NAME_BYTES} bytes")
    return name


def _given(value: str) -> str:
    if not value:
        raise ValueError("it is empty; name a file, a folder, a pattern or a table")
    return value


def _no_table(folder: Path) -> Path:
    if is_table(folder):
        raise ValueError(f"it would be a folder with tables in it; name a folder, without {folder.suffix}")
    return folder


ResultFolder = Annotated[Path, AfterValidator(_no_table)]
Given = Annotated[str, AfterValidator(_given)]  # recordings, see `data.given`
_Seed = Annotated[int, Field(ge=0, lt=2**31)]  # what numpy and torch both take

RunName = Annotated[str, AfterValidator(_usable_name)]
_SPLIT = BeforeValidator(_split_value)
Names = Annotated[list[str], _SPLIT, AfterValidator(_not_empty), AfterValidator(_fit_for_folders)]
FolderName = Annotated[str, AfterValidator(lambda name: _fit_for_folders(_not_empty([name]))[0])]
AnyNames = Annotated[list[str], _SPLIT, AfterValidator(lambda names: _not_empty(names) if names else names)]
Seeds = Annotated[list[_Seed], _SPLIT, Field(min_length=1), AfterValidator(_distinct)]
Numbers = Annotated[list[Annotated[int, Field(ge=1)]], _SPLIT]
Levels = Annotated[list[float], _SPLIT, Field(min_length=1)]
Sizes = Annotated[list[Annotated[int, Field(ge=16)]], _SPLIT]

NO_RESULT: dict[str, Any] = {"changes_result": False}  # json_schema_extra of an option that changes no result


def flattened(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Options by their full names, such as `training.epochs`, behind a prefix."""
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _parts(annotation: Any) -> Iterator[Any]:
    """What an annotation is made of."""
    for part in get_args(annotation):
        yield part
        yield from _parts(part)


class Settings(BaseModel):
    """A group of options: immutable, and without any that it does not declare."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True)

    @field_validator("*", mode="before")
    @classmethod
    def _usable_place(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses an empty path, and an address where only paths are taken; puts the home folder in place of ~."""
        if not isinstance(value, str) or (value and value[0] != "~" and "://" not in value):
            return value
        field = cls.model_fields[info.field_name or ""]
        parts = [field.annotation, *field.metadata, *_parts(field.annotation)]
        if Path not in parts:
            return value
        if value == "":
            raise ValueError("it is empty; name a place or leave the option out")
        if TO_MIRROR not in parts and is_address(value):
            raise ValueError(
                "this option takes a folder or file of this computer, not an address; copy there or from there by the "
                "storage's own tools"
            )
        return os.path.expanduser(value)

    @classmethod
    def declared(cls, prefix: str = "") -> Iterator[tuple[str, type[Settings], FieldInfo]]:
        """All options in order: a full name such as `training.epochs`, the model that declares it, and its field."""
        for name, field in cls.model_fields.items():
            default = field.get_default()
            if isinstance(default, Settings):
                yield from type(default).declared(f"{prefix}{name}.")
            else:
                yield prefix + (field.alias or name), cls, field

    def deciding(self) -> dict[str, Any]:
        """The options that can change a result, as plain values for a hash."""
        plain = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and not extra.get("changes_result", True):
                del plain[name]
            elif isinstance(value := getattr(self, name), Settings):
                plain[name] = value.deciding()
        return plain


class Execution(Settings):
    """Where the jobs of a stage run."""

    executor: Literal["here", "local", "ray"] = Field(
        "here", description="jobs one by one here, in local processes of one thread, or on a ray cluster"
    )
    workers: int = Field(0, ge=0, description="jobs at once; 0: one per core, or one per GPU")
    address: str | None = Field(
        None, description="of a running Ray cluster; by default RAY_ADDRESS, or one of this computer"
    )

    @model_validator(mode="after")
    def _is_used(self) -> Self:
        if self.workers and self.executor == "here":
            raise ValueError(f"workers={self.workers} needs executor=local or executor=ray")
        if self.address and self.executor != "ray":
            raise ValueError(f"address={self.address} needs executor=ray")
        return self


class SideBySide(Execution):
    """The same for stages of many jobs, which are done in local processes unless told otherwise."""

    executor: Literal["here", "local", "ray"] = Field(
        "local", description="local: processes of one thread, ray: a cluster, here: one by one in this process"
    )


class TrainSettings(Settings):
    """How long and how to train by gradient.

    Accumulating leaves the gradient that of the whole batch where the loss is a mean over items; batch
    normalisation and losses over a batch see a piece. Weights stay float32 at any precision.
    """

    epochs: int = Field(100, ge=1, description="passes over the training data")
    batch_size: int = Field(256, ge=2, description="items per step of the optimiser")
    learning_rate: float = Field(1e-3, gt=0, description="largest step size")
    weight_decay: float = Field(0.0, ge=0, description="per step and unit of learning rate")
    warmup: float = Field(0.0, ge=0, le=1, description="share of steps in which the learning rate rises")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="of the learning rate after that: constant or cosine"
    )
    optimizer: Literal["adamw", "adam", "radam"] = Field("adamw", description="adamw, adam or radam")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "float32", description="float32, bfloat16, float16; auto: bfloat16 on a GPU, float32 on a CPU"
    )
    clip_norm: float | None = Field(None, gt=0, description="longest gradient; a longer one is shortened")
    accumulate: int = Field(1, ge=1, description="pieces that a batch is cut into, to save memory")
    floor: float = Field(0.0, ge=0, description="last learning rate of the cosine")


def meanings(stages: Mapping[str, type[Settings]]) -> dict[str, str]:
    """What each stage of a group is for, by the docstring of its options, as `--help` lists it."""
    texts = {stage: str(options.__doc__).removesuffix(".") for stage, options in stages.items()}
    return {stage: text[0].lower() + text[1:] for stage, text in texts.items()}
