"""What `--help` says of a stage: its options in groups, those that matter first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_core import PydanticUndefined

from asd.detectors import section_of
from asd.options import Execution, Settings, TrainSettings
from asd.settings.config import Run

Row = tuple[str, Any, str]  # name, default and meaning of an option

# What every training can be told and few are: listed once.
_SHARED = {
    name: field
    for name, field in TrainSettings.model_fields.items()
    if name not in ("epochs", "batch_size", "learning_rate")
}
_CONFIG = ("config", None, "YAML file of such options; those of the command line win")


def describe(command: str, meaning: str, stage: type[Settings], detector: str | None = None) -> str:
    """The help text of a stage that is typed as the command, with options of one detector, or (None) of all here."""
    blocks = [f"python -m asd {command} [key=value ...]: {meaning}"]
    if issubclass(stage, Run):
        if detector is not None:
            stage = stage.with_detector(detector)
        blocks += _groups_of_run(stage, detector and section_of(detector))
    else:
        rows = sorted(_options(stage), key=lambda row: row[0] in Execution.model_fields)  # what for before where
        blocks += [_table([*rows, _CONFIG]), *_of_every_training(stage)]
    return "\n\n".join(blocks)


def _groups_of_run(stage: type[Run], detector: str | None) -> Iterator[str]:
    detectors = stage.detector_names()
    options: dict[str, list[Row]] = {name: [] for name in stage.model_fields}
    for name, default, meaning in _options(stage):
        options[name.partition(".")[0]].append((name, default, meaning))
    yield "most used\n" + _table([row for name in stage.leading for row in options[name]] + [_CONFIG])
    shown = {*stage.leading, *stage.hidden, *detectors}
    if rest := [row for name, rows in options.items() if name not in shown for row in rows]:
        yield "further\n" + _table(rest)
    for section, rows in options.items():
        if section in detectors - set(stage.hidden) and detector in (None, section):
            about = (type(stage.model_fields[section].get_default()).__doc__ or "").splitlines()[0]
            short = [(name.removeprefix(f"{section}."), default, meaning) for name, default, meaning in rows]
            yield f"detector={section}: {about}\n" + _table(short)
    if "weights" in stage.leading:
        yield "With weights=FILE, the options of train say what network the weights belong to."
    else:
        yield from _of_every_training(stage, detector)
        yield (
            "An option of the chosen detector is written as above, or with its name, as autoencoder.n_mels=64;\n"
            "detector=NAME --help lists those of one detector."
        )


def _of_every_training(stage: type[Settings], detector: str | None = None) -> Iterator[str]:
    """The options that every training has, once for all places where they can be given: of one detector, or of all."""
    names = [name for name, model, _ in stage.declared() if issubclass(model, TrainSettings) and "." in name]
    places = dict.fromkeys(name.rpartition(".")[0] for name in names if detector in (None, name.partition(".")[0]))
    if places:
        rows = [(name, field.get_default(), field.description or "") for name, field in _SHARED.items()]
        yield f"every training by gradient, {', '.join(f'{place}.*' for place in places)}\n" + _table(rows)


def _options(stage: type[Settings]) -> Iterator[Row]:
    """Options, without those that every training has with the same default and meaning."""
    for name, model, field in stage.declared():
        shared = _SHARED.get(name.rpartition(".")[2]) if issubclass(model, TrainSettings) else None
        if shared is None or (field.default, field.description) != (shared.default, shared.description):
            yield name, field.get_default(), field.description or ""


def _shown(default: Any) -> str:
    """A default as it is written on the command line; empty where there is none."""
    if default is None or default is PydanticUndefined:
        return ""
    if isinstance(default, list):
        return ",".join(map(str, default))
    return str(default).lower() if isinstance(default, bool) else str(default)


def _table(rows: Sequence[Row]) -> str:
    return "\n".join(f"  {f'{name}={_shown(default)}':34}  {meaning}" for name, default, meaning in rows)
