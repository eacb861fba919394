"""What `--help` says of a stage: its options in groups, those that matter first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import PydanticUndefined

from asd.detectors import section_of
from asd.options import Settings, TrainSettings
from asd.settings.config import Run

# What every training can be told and few are: listed once.
_SHARED = {
    name: field
    for name, field in TrainSettings.model_fields.items()
    if name not in ("epochs", "batch_size", "learning_rate")
}
_CONFIG = ("config=", "YAML file of such options; those of the command line win")


def describe(command: str, meaning: str, stage: type[Settings], detector: str | None = None) -> str:
    """The help text of a stage.

    Args:
        command: as it is typed, such as "train" or "sed train".
        detector: list the options of this detector only; None: of all that come with the package.
    """
    blocks = [f"python -m asd {command} [key=value ...]: {meaning}"]
    if issubclass(stage, Run):
        if detector is not None:
            stage = stage.with_detector(detector)
        blocks += _groups_of_run(stage, detector and section_of(detector))
    else:
        blocks.append(_table([*_options(stage), _CONFIG]))
        blocks += _of_every_training(list(_trainings(stage)))
    return "\n\n".join(blocks)


def _groups_of_run(stage: type[Run], detector: str | None) -> Iterator[str]:
    detectors = {name for name in stage.model_fields if name in stage.detector_names()}
    options = {name: list(_options(stage, (name,))) for name in stage.model_fields}
    yield "most used\n" + _table([row for name in stage.leading for row in options[name]] + [_CONFIG])
    shown = {*stage.leading, *stage.hidden, *detectors}
    if rest := [row for name, rows in options.items() if name not in shown for row in rows]:
        yield "further\n" + _table(rest)
    for name in stage.model_fields:
        if name in detectors - set(stage.hidden) and detector in (None, name):
            about = (type(stage.model_fields[name].get_default()).__doc__ or "").splitlines()[0]
            rows = [(key.removeprefix(f"{name}."), meaning) for key, meaning in options[name]]
            yield f"detector={name}: {about}\n" + _table(rows)
    trained = [key for key in _trainings(stage) if detector in (None, key.split(".")[0])]
    yield from _of_every_training(trained)
    if "weights" in stage.leading:
        yield "With weights=FILE, the options of train say what network the weights belong to."
    else:
        yield (
            "An option of the chosen detector is written as above, or with its name, as autoencoder.n_mels=64;\n"
            "detector=NAME --help lists those of one detector."
        )


def _of_every_training(places: list[str]) -> Iterator[str]:
    """The options that every training has, once for all places where they can be given."""
    if places:
        rows = [(f"{name}={_shown(field.get_default())}", field.description or "") for name, field in _SHARED.items()]
        yield f"every training by gradient, {', '.join(f'{key}.*' for key in places)}\n" + _table(rows)


def _options(stage: type[Settings], only: tuple[str, ...] = (), prefix: str = "") -> Iterator[tuple[str, str]]:
    """Options as (key=default, meaning), without those that every training has with the same default."""
    for name, field in stage.model_fields.items():
        if (only and name not in only) or _is_shared(stage, name):
            continue
        default = field.get_default()
        if isinstance(default, Settings):
            yield from _options(type(default), (), f"{prefix}{name}.")
            continue
        yield f"{prefix}{field.alias or name}={_shown(default)}", field.description or ""


def _is_shared(stage: type[Settings], name: str) -> bool:
    """Whether an option is one of every training, with the same default and meaning."""
    field, shared = stage.model_fields[name], _SHARED.get(name)
    if shared is None or not issubclass(stage, TrainSettings):
        return False
    return (field.default, field.description) == (shared.default, shared.description)


def _trainings(stage: type[Settings], prefix: str = "") -> Iterator[str]:
    """Where an option is a training, or holds the options of one."""
    for name, field in stage.model_fields.items():
        if isinstance(default := field.get_default(), Settings):
            if isinstance(default, TrainSettings):
                yield prefix + name
            yield from _trainings(type(default), f"{prefix}{name}.")


def _shown(default: Any) -> str:
    """A default as it is written on the command line; empty where there is none."""
    if default is None or default is PydanticUndefined:
        return ""
    if isinstance(default, list):
        return ",".join(map(str, default))
    return str(default).lower() if isinstance(default, bool) else str(default)


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"  {key:34}  {about}" for key, about in rows)
