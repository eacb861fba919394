"""Defects of a system's meta file, held against the template of its year."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import yaml

from asd.challenge.system_meta import Meta, result_keys
from asd.core.files import load_yaml
from asd.options import flattened

ABBREVIATION_MAX = 10

_PLACEHOLDER = re.compile(r"<.*>", re.DOTALL)
_TEXT_NEEDED = {  # everything else may be null
    "submission.name",
    "submission.abbreviation",
    "system.description.input_sampling_rate",
    "system.description.acoustic_features",
    "system.description.machine_learning_method",
}
_NUMBER_NEEDED = {"system.complexity.total_parameters"}
_NUMBER = _NUMBER_NEEDED | {"system.description.ensemble_method_subsystem_count"}
_ABSENT = object()
_AUTHORS = "submission.authors"
_DATASETS = "system.external_datasets"


def parse_meta(content: bytes) -> object:
    """The YAML content of a meta file; where it is no YAML, the parser's words."""
    try:
        return load_yaml(content)
    except yaml.YAMLError as error:
        return " ".join(str(error).split())


def meta_defects(meta: object, template: Meta, label: str, machines: tuple[str, ...]) -> Iterator[str]:
    """Sentences on keys that are missing, empty or of the wrong type; no `machines`: results of any will do."""
    if not isinstance(meta, dict):
        yield f"it is no YAML mapping ({meta})."
        return
    named = _lookup(meta, "submission.label")
    if named != label:
        yield f"submission.label is {named!r} in place of {label!r}."
    for path, _ in flattened(template):
        if path == "submission.label" or path.startswith("results."):
            continue
        value = _lookup(meta, path, _ABSENT)
        if value is _ABSENT:
            yield f"{path} is missing."
        elif path == _AUTHORS:
            yield from _author_defects(value, template)
        elif path == _DATASETS:
            yield from _dataset_defects(value)
        else:
            yield from _value_defects(path, value)
    yield from _result_defects(meta, result_keys(template), machines)


def meta_warnings(meta: object) -> Iterator[str]:
    """Sentences on what a template asked for and nobody filled in, and on results that are no per cent."""
    for path, value in _texts(meta, ""):
        if _PLACEHOLDER.fullmatch(value):
            yield f"{path} still says {value!r}: fill it in."
    results = _lookup(meta, "results.development_dataset") if isinstance(meta, dict) else None
    rows = [row for row in results.values() if isinstance(row, dict)] if isinstance(results, dict) else []
    figures = [value for row in rows for value in row.values() if _is_number(value)]
    if figures and max(figures) <= 1:
        yield f"results.development_dataset are all at most {max(figures)}: they must be in per cent."


def shared_names(metas: Mapping[str, object]) -> Iterator[str]:
    """Sentences on systems, by their labels, that nobody can tell apart in a table of results."""
    for path in ("submission.name", "submission.abbreviation"):
        labels: dict[str, list[str]] = {}
        for label, meta in metas.items():
            if isinstance(value := _lookup(meta, path), str):
                labels.setdefault(value, []).append(label)
        for value, same in labels.items():
            if len(same) > 1:
                yield f"{' and '.join(same)}: {path} is {value!r} in each: give each system its own."


def _value_defects(path: str, value: object) -> Iterator[str]:
    if value is None:
        if path in _TEXT_NEEDED | _NUMBER_NEEDED:
            yield f"{path} is empty."
    elif isinstance(value, str | list | dict) and not (value.strip() if isinstance(value, str) else value):
        yield f"{path} is empty: where it does not apply, write null."
    elif path in _NUMBER:
        if not _is_number(value) or value < 0:
            yield f"{path} is {value!r}: it must be a number."
    elif not _is_text(value):
        yield f"{path} is {value!r}: it must be text."
    elif path == "submission.abbreviation" and len(str(value)) > ABBREVIATION_MAX:
        yield f"{path} {value!r} is longer than {ABBREVIATION_MAX} characters."


def _author_defects(authors: object, template: Meta) -> Iterator[str]:
    if not isinstance(authors, list) or not authors:
        yield f"{_AUTHORS} is {authors!r}: it must be a list of at least one author."
        return
    asked = (template["submission"].get("authors") or [{}])[0]
    for index, author in enumerate(authors):
        where = f"{_AUTHORS}[{index}]"
        if not isinstance(author, dict):
            yield f"{where} is {author!r}: it must be a mapping with lastname, firstname, email and so on."
            continue
        for path, _ in flattened(asked):
            value = _lookup(author, path)
            if path == "corresponding":
                if not isinstance(value, bool | None):
                    yield f"{where}.{path} is {value!r}: it must be true or false."
            elif value is None or not str(value).strip():
                if _lookup(asked, path) is not None:
                    yield f"{where}.{path} is empty."
            elif not _is_text(value):
                yield f"{where}.{path} is {value!r}: it must be text."
    corresponding = sum(isinstance(author, dict) and author.get("corresponding") is True for author in authors)
    if corresponding != 1:
        yield f"{corresponding} authors are corresponding: exactly one must be."


def _dataset_defects(datasets: object) -> Iterator[str]:
    if datasets is None:
        return
    entries = datasets if isinstance(datasets, list) else [datasets]
    if not entries:
        yield f"{_DATASETS} is empty: where there is none, write null."
    for entry in entries:
        if not isinstance(entry, dict) or not entry.get("name") or "url" not in entry:
            yield f"{_DATASETS} holds {entry!r}: each must have a name and a url."


def _result_defects(meta: Meta, keys: tuple[str, ...], machines: tuple[str, ...]) -> Iterator[str]:
    results = _lookup(meta, "results.development_dataset")
    if not isinstance(results, dict) or not results:
        yield "results.development_dataset is empty: give the results of every machine."
        return
    for machine in machines or tuple(results):
        figures = results.get(machine)
        for key in keys:
            value = figures.get(key) if isinstance(figures, dict) else None
            if not _is_number(value) or not 0 <= value <= 100:
                yield f"results.development_dataset.{machine}.{key} is {value!r}: it must be in per cent."


def _lookup(meta: object, path: str, otherwise: object = None) -> Any:
    """The value at a dotted path."""
    value: Any = meta
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return otherwise
        value = value[key]
    return value


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Dotted path and value of every text."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}[{index}]")


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: object) -> bool:
    """Text or a number; or a list of texts, as some write several methods."""
    if isinstance(value, list):
        return all(isinstance(item, str) and item.strip() for item in value)
    return isinstance(value, str) or _is_number(value)
