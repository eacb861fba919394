"""What `--help` says of a stage: its options in groups, those that matter first."""

from __future__ import annotations

from collections.abc import Iterator

from asd.detectors import section_of
from asd.options import Settings
from asd.settings.config import Run

_CONFIG = ("config=", "YAML file of such options; those of the command line win")


def describe(command: str, meaning: str, stage: type[Settings], detector: str | None = None) -> str:
    """The help text of a stage.

    Args:
        command: as it is typed, such as "train" or "sed train".
        meaning: what the stage does.
        stage: the model of its options.
        detector: list the options of this detector only; None: of all that come with the package.
    """
    blocks = [f"python -m asd {command} [key=value ...]: {meaning}"]
    if issubclass(stage, Run):
        if detector is not None:
            stage = stage.with_detector(detector)
        blocks += _groups_of_run(stage, detector and section_of(detector))
    else:
        blocks.append(_table([*_options(stage), _CONFIG]))
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
    if "weights" in stage.leading:
        yield "With weights=FILE, the options of train say what network the weights belong to."
    else:
        yield (
            "An option of the chosen detector is written as above, or with its name, as autoencoder.n_mels=64;\n"
            "detector=NAME --help lists those of one detector."
        )


def _options(
    stage: type[Settings], only: tuple[str, ...] = (), prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """Options as (key=default, meaning)."""
    for name, field in stage.model_fields.items():
        if only and name not in only:
            continue
        default = field.get_default()
        if isinstance(default, Settings):
            yield from _options(type(default), (), f"{prefix}{name}.")
            continue
        if isinstance(default, list):
            default = ",".join(map(str, default))
        shown = "" if field.is_required() or default is None else str(default)
        shown = shown.lower() if isinstance(default, bool) else shown
        yield f"{prefix}{field.alias or name}={shown}", field.description or ""


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"  {key:34}  {about}" for key, about in rows)
