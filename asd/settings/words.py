"""Words `key=value` of the command line to the settings of a stage.

Precedence, later wins: the defaults in `config`, a YAML file named by `config=`, the words.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from asd.settings.config import DEFAULT_DETECTOR, Run
from asd.settings.knobs import Section
from asd.types import AsdError

S = TypeVar("S", bound=Section)


def parse(stage: type[S], words: Sequence[str], base: Mapping[str, Any] | None = None) -> S:
    """Settings of a stage from `key=value` words.

    Args:
        stage: which words there are.
        words: such as ["machine=fan", "training.epochs=5"]; `config=FILE` is read before the others.
        base: values to start from, below the file and the words.

    Raises:
        AsdError: a word that is no key=value, an unknown key (the nearest is named), a value that does
            not fit, or a config file that is not YAML.
    """
    values: dict[str, Any] = {}
    _merge(values, base or {})
    pairs = [_pair(word) for word in words]
    for key, value in pairs:
        if key == "config":
            _merge(values, _read_yaml(stage, Path(value)))
    for key, value in pairs:
        if key != "config":
            _assign(stage, values, key, value)
    try:
        return stage.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
        if first["type"] == "missing":
            raise AsdError(f"{key}= is missing; see python -m asd {stage.__name__.lower()} --help") from error
        raise AsdError(f"{key}={first['input']!s} does not fit: {first['msg']}") from error


def keys(stage: type[Section], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """All words of a stage as (key, default, meaning)."""
    for name, field in stage.model_fields.items():
        default = field.get_default(call_default_factory=False)
        if isinstance(default, Section):
            yield from keys(type(default), f"{prefix}{name}.")
            continue
        if isinstance(default, list):
            default = ",".join(map(str, default))
        shown = "" if field.is_required() or default is None else str(default)
        yield prefix + (field.alias or name), shown, field.description or ""


def _pair(word: str) -> tuple[str, str]:
    if word.startswith("--"):  # --keep-going, as other tools say it
        word = word[2:].replace("-", "_") if "=" in word else f"{word[2:].replace('-', '_')}=true"
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise AsdError(f"{word!r} is not a key=value word, such as machine=fan")
    return key.strip(), value


def _assign(stage: type[Section], values: dict[str, Any], key: str, value: Any) -> None:
    key = "seeds" if key == "seed" and "seeds" in stage.model_fields else key
    known = [name for name, _, _ in keys(stage)]
    if key not in known:
        full = {name.split(".")[-1]: name for name in reversed(known)}
        near = difflib.get_close_matches(key, [*known, *full], n=1, cutoff=0.5)
        hint = f"did you mean {full.get(near[0], near[0])}?" if near else f"known keys: {', '.join(known)}"
        raise AsdError(f"unknown key {key!r}: {hint}")
    *path, last = key.split(".")
    for part in path:
        values = values.setdefault(part, {})
    values[last] = value


def _read_yaml(stage: type[Section], path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise AsdError(f"config={path} does not exist; the ready ones are in configs/") from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise AsdError(
            f"config={path} is not a readable YAML file: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(content, dict):
        raise AsdError(f"config={path} holds no key: value lines")
    values: dict[str, Any] = {}
    for key, value in _flatten(content):
        try:
            _assign(stage, values, key, value)
        except AsdError as error:
            raise AsdError(f"{path}: {error}") from error
    return values


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _merge(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping):
            _merge(values.setdefault(key, {}), value)
        else:
            values[key] = value


def run_config(words: Sequence[str]) -> dict[str, Any]:
    """What `score` starts from: the configuration of the run its words name, which need not be repeated."""
    given = dict(_pair(word) for word in words)
    detector = given.get("detector", DEFAULT_DETECTOR)
    machine = given.get("machine", "all").split(",")[0]
    root = Path(given.get("runs", "runs")) / given.get("name", detector)
    pattern = "*" if machine == "all" else machine
    found = sorted(root.glob(f"{pattern}/seed*/config.yaml"))
    if not found or "config" in given or "weights" in given:
        return {}
    configs = [_read_yaml(Run, path) for path in found]
    folders = sorted({str(values.get("data") or "the default") for values in configs})
    if len(folders) > 1 and "data" not in given:
        raise AsdError(
            f"the machines of {root} were trained from several folders ({', '.join(folders)}); say which with data="
        )
    own = ("machine", "seeds", "weights", "overwrite", "keep_going")  # said anew each time
    return {key: value for key, value in configs[0].items() if key not in own}
