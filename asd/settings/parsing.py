"""Arguments `key=value` of the command line to the options of a stage.

Precedence, later wins: the defaults of the models, a YAML file named by `config=`, the arguments.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from glob import escape
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from asd.core.files import read_yaml
from asd.core.runtime import log
from asd.core.storage import fetch, read_bytes
from asd.detectors import REGISTRY, detector_class, section_of
from asd.options import Settings, flattened, split_names
from asd.places import mirrored
from asd.runs import RunDirectory
from asd.settings.config import Run
from asd.settings.stages import DEFAULT_DETECTOR
from asd.types import AsdError

# Options of `train` that `asd.fit` has as arguments, and those that it reads besides the detector's.
_FIT_ARGUMENTS = {"machine", "seed", "seeds", "device", "detector", "channel", "sample_rate_hz"}
_FIT_OPTIONS = {"decision", "frontend", "residual", "window_s", "year"}

S = TypeVar("S", bound=Settings)
Pairs = list[tuple[str, Any]]


def parse(
    stage: type[S], arguments: Sequence[str], base: Mapping[str, Any] | None = None, command: str = "<stage>"
) -> S:
    """Validated options of a stage from `key=value` arguments.

    Args:
        arguments: such as ["machine=fan", "training.epochs=5"]; the file of `config=FILE` is read first.
        base: values to start from, below the file and the arguments.
        command: how the stage is called, for messages.

    Raises:
        AsdError: an argument without `=`, an unknown key (the nearest is named), a value that does not fit, or a
            config file that is not YAML.

    Example:
        >>> from asd.settings.stages import Evaluate
        >>> parse(Evaluate, ["name=fans", "year=2024"]).year
        2024
    """
    given = [_split_pair(argument) for argument in arguments]
    paths = [mirrored(value) for key, value in given if key == "config"]
    files = [(path, read_pairs(path)) for path in paths]
    given = [(key, value) for key, value in given if key != "config"]
    below = list(flattened(base or {}))
    if issubclass(stage, Run):
        every = dict(chain(below, *(pairs for _, pairs in files), given))  # of a key that is there again, the last
        stage = cast(type[S], stage.with_detector(str(every.get("detector", DEFAULT_DETECTOR))))
    values: dict[str, Any] = {}
    _assign(stage, values, below)
    for path, pairs in files:
        try:
            used = _assign(stage, values, pairs)
        except AsdError as error:
            raise AsdError(f"{path}: {error}") from error
        if twice := _twice(pairs, used):
            raise AsdError(f"config={path} gives {twice[0]} twice; keep one")
        _warn_of_no_effect(stage, values, used)
    used = _assign(stage, values, given)
    _warn_of_earlier(stage, given, used)
    _warn_of_no_effect(stage, values, used)
    return _validated(stage, values, command)


def keys(stage: type[Settings]) -> list[str]:
    """Names of all options of a stage."""
    return [name for name, _, _ in stage.declared()]


def check_options(options: Mapping[str, Any] | None, detector: str) -> None:
    """Refuses options for `asd.fit` that it has as arguments or no use for; names those of another detector."""
    if options is None:
        return
    if not isinstance(options, Mapping):
        raise AsdError(f"options={options!r} is no mapping; give names and values, such as {{'backend': 'knn'}}")
    unused = {*Run.model_fields} - Run.detector_names() - _FIT_ARGUMENTS - _FIT_OPTIONS
    for key in (str(name).partition(".")[0] for name in options):
        if key in _FIT_ARGUMENTS:
            raise AsdError(f"{key} is an argument of fit and none of its options; give it beside options=")
        if key in unused:
            raise AsdError(f"{key} is an option of train that fit has no use for; leave it out")
    stage = Run.with_detector(detector)
    known, own = keys(stage), section_of(detector)
    used = {key: _full_key(stage, key, known, own) for key, _ in flattened(options)}
    _warn_of_no_effect(stage, {"detector": detector}, used)


def _split_pair(argument: str) -> tuple[str, str]:
    """`key=value` to its two sides; `--keep-going`, as other tools write it, is keep_going=true."""
    if argument.startswith("--"):
        key, equals, value = argument[2:].partition("=")
        return key.replace("-", "_"), value if equals else "true"
    key, equals, value = argument.partition("=")
    if not equals or not key.strip():
        raise AsdError(f"{argument!r} is not a key=value argument, such as machine=fan")
    return key.strip(), value


def read_pairs(path: Path) -> Pairs:
    """Options of a YAML file as (key, value), in order."""
    return list(flattened(read_yaml(path, "config=", "; the ready ones are in configs/", read_bytes)))


def stored_run(content: Mapping[str, Any], **changes: Any) -> Run:
    """The options that a run was trained with, as its config.yaml holds them, but for `changes`."""
    if members := content.get("members"):
        raise AsdError(
            f"this run is a fusion of {', '.join(members)} and has no model of its own; do it with each of them, then "
            f"fuse them anew with overwrite=true"
        )
    known = dict(flattened(content))
    if (detector := known.get("detector", DEFAULT_DETECTOR)) not in REGISTRY:
        detector_class(str(detector))  # the package that brings it may be missing here: nothing has to be trained again
    try:
        return parse(Run, [], {**known, **changes})
    except AsdError as error:
        raise AsdError(
            f"the stored configuration of the run does not fit this version of asd ({error}); train it again with "
            f"overwrite=true, or under another name="
        ) from error


def options_of(run: RunDirectory, **changes: Any) -> Run:
    """The options that the model of one machine and seed was trained with, but for `changes`."""
    if not (content := run.config()):
        raise AsdError(f"{run.path / 'config.yaml'} is missing; train the run again with overwrite=true")
    return stored_run(content, machine=[run.machine], seeds=[run.seed], **changes)


def run_config(arguments: Sequence[str]) -> dict[str, Any]:
    """What `score` starts from: the configuration of the run its arguments name, which need not be repeated."""
    given = dict(_split_pair(argument) for argument in arguments)
    detector = section_of(given.get("detector", DEFAULT_DETECTOR))
    machine = split_names(given.get("machine") or "all")[0]
    root = mirrored(given.get("runs", "runs")) / given.get("name", detector)
    fetch(root, without="model")
    pattern = "*" if machine == "all" else escape(machine)
    found = sorted(root.glob(f"{pattern}/seed*/config.yaml"))
    if not found or "config" in given or "weights" in given:
        return {}
    configs = [dict(flattened(RunDirectory(path.parent).config())) for path in found]
    folders = sorted({str(values.get("data") or values.get("normal") or "the default") for values in configs})
    if len(folders) > 1 and not {"data", "normal"} & given.keys():
        raise AsdError(
            f"the machines of {root} were trained from several folders ({', '.join(folders)}); say which with data= or "
            f"machine="
        )
    stored_run(configs[0])
    own = {"machine", "seeds", "weights", "overwrite", "keep_going"}  # given anew each time
    if {"data", "normal"} & given.keys():
        own |= {"data", "normal", "abnormal", "layout", "held_out"}
    machines = {path.parents[1].name for path in found}
    only = {"machine": machines.pop()} if len(machines) == 1 else {}
    return only | {key: value for key, value in configs[0].items() if key not in own}


def _assign(stage: type[Settings], values: dict[str, Any], pairs: Pairs) -> dict[str, str]:
    """Writes options into nested values; returns the full key of each key as it was given."""
    detector = section_of(str(dict(pairs).get("detector", values.get("detector", DEFAULT_DETECTOR))))
    known = keys(stage)
    full = {key: _full_key(stage, key, known, detector) for key, _ in pairs}
    for key, value in pairs:
        inner = values
        *path, last = full[key].split(".")
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return full


def _full_key(stage: type[Settings], key: str, known: Sequence[str], detector: str) -> str:
    """An option by its full name, one of those known to the stage; the name of the chosen detector may be left out."""
    if key in known:
        return key
    if key == "seed" and "seeds" in known:
        return "seeds"
    sections = sorted(stage.detector_names()) if issubclass(stage, Run) else []
    found = [f"{section}.{key}" for section in sections if f"{section}.{key}" in known]
    if f"{detector}.{key}" in found:
        return f"{detector}.{key}"
    if len(found) == 1 and "." in key:  # training.epochs=5 may stand beside any detector
        return found[0]
    raise _unknown_key(stage, key, known, detector, found)


def _unknown_key(
    stage: type[Settings], key: str, known: Sequence[str], detector: str, of_detectors: Sequence[str]
) -> AsdError:
    """The error for a key that names no option, but those `of_detectors`: says which option was probably meant."""
    if key == "name" and "members" in known:
        return AsdError("name= is one run, and this stage takes several: say members=RUN1,RUN2")
    near = _nearest(key, known, detector)
    if of_detectors and near not in {name.removeprefix(f"{detector}.") for name in known if detector in name}:
        own = [name for name in known if name.startswith(f"{detector}.")]
        like = difflib.get_close_matches(f"{detector}.{key}", own, n=1, cutoff=0.9)
        return AsdError(f"{key}= is no option of detector={detector}; write {' or '.join([*like, *of_detectors])}")
    if near:
        return AsdError(f"unknown key {key!r}: did you mean {near}?")
    leading = [name for name in getattr(stage, "leading", ()) if name in known]
    first = dict.fromkeys([*leading, *(name for name in known if "." not in name)])
    rest = ", and those of parts, which --help lists" if len(first) < len(known) else ""
    return AsdError(f"unknown key {key!r}: known keys: {', '.join(first)}{rest}")


def _nearest(key: str, known: Sequence[str], detector: str) -> str | None:
    """The option that was probably meant, as short as it may be written."""
    own = [name.removeprefix(f"{detector}.") for name in known if name.startswith(f"{detector}.")]
    # of other detectors training.epochs needs no name before it, and n_mels does
    others = [name.split(".", 1)[1] if name.count(".") > 1 else name for name in known]
    short = own + [name for name in others if not name.startswith(f"{detector}.")]
    by_last_part = {name.split(".")[-1]: name for name in reversed(short)}
    near = difflib.get_close_matches(key, [*short, *by_last_part], n=1, cutoff=0.5)
    return by_last_part.get(near[0], near[0]) if near else None


def full_names(names: Sequence[str], detector: str) -> list[str]:
    """Options of `train` as it declares them, statistics.backend for backend; `AsdError` where there is none such."""
    stage = Run.with_detector(detector)
    return [_full_key(stage, name, keys(stage), section_of(detector)) for name in names]


def _twice(pairs: Pairs, used: Mapping[str, str]) -> list[str]:
    """Options that are given more than once, however they are spelled."""
    return [name for name, n in Counter(used[key] for key, _ in pairs).items() if n > 1]


def _warn_of_earlier(stage: type[Settings], pairs: Pairs, used: Mapping[str, str]) -> None:
    """Names options that the command gives again with another value: wrappers of commands append theirs."""
    for name in _twice(pairs, used):
        own = [(key, value) for key, value in pairs if used[key] == name]
        if len({str(value) for _, value in own}) > 1:
            each = [f"{key}={_shown(stage, name, value)}" for key, value in own]
            log.warning("%s is given %d times (%s): %s counts", name, len(each), ", ".join(each), each[-1])


def _shown(stage: type[Settings], option: str, value: Any) -> str:
    """A value as a message says it; `Field(repr=False)` marks an option that may hold a secret."""
    field = stage.model_fields.get(option)
    return str(value) if field is None or field.repr else "***"


def _warn_of_no_effect(stage: type[Settings], values: Mapping[str, Any], used: Mapping[str, str]) -> None:
    """Names the options of other detectors than the chosen one."""
    if not issubclass(stage, Run):
        return
    detector = str(values.get("detector", DEFAULT_DETECTOR))
    others = stage.detector_names() - {section_of(detector)}
    if idle := [given for given, key in used.items() if key.split(".")[0] in others]:
        log.warning("%s= has no effect with detector=%s", "=, ".join(idle), detector)


def _validated(stage: type[S], values: Mapping[str, Any], command: str) -> S:
    try:
        return stage.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = _option(stage, first["loc"])
        if first["type"] == "missing":
            raise AsdError(f"{key}= is missing; see python -m asd {command} --help") from error
        reasons = [one["msg"] for one in error.errors() if _option(stage, one["loc"]) == key]  # one per kind it may be
        reason = ", or ".join(dict.fromkeys(reason.removeprefix("Value error, ") for reason in reasons))
        if not key:  # of several options together
            raise AsdError(f"{reason}; see python -m asd {command} --help") from error
        raise AsdError(f"{key}={_shown(stage, key, first['input'])} does not fit: {reason}") from error


def _option(stage: type[BaseModel], loc: Sequence[int | str]) -> str:
    """The option that an error is about, without what pydantic adds: places in a list, kinds that a value may be."""
    if not loc:
        return ""
    field = stage.model_fields.get(str(loc[0]))
    inner = field.annotation if field else None
    rest = _option(inner, loc[1:]) if isinstance(inner, type) and issubclass(inner, BaseModel) else ""
    return f"{loc[0]}.{rest}" if rest else str(loc[0])
