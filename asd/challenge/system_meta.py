"""Meta file of a system: a template, filled with what the run knows, under what only its authors know; its defects.

The template is `meta/<year>.yaml` or the organisers' own. Its keys decide what is asked for; text in
<angle brackets> is still to be filled in; null says "not applicable".
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from asd.challenge.years import Year
from asd.core.files import load_yaml, read_yaml
from asd.options import flattened
from asd.types import AsdError

Meta = dict[str, Any]  # a YAML mapping: nested mappings, lists, text, numbers, None

_TEMPLATES = Path(__file__).with_name("meta")
_SECTIONS = ("submission", "system", "results")
_AUTHORS, _DATASETS = "submission.authors", "system.external_datasets"
ABBREVIATION_MAX = 10
_PLACEHOLDER = re.compile(r"<.*>", re.DOTALL)
_TEXT_NEEDED = {  # everything else may be null
    "submission.name", "submission.abbreviation", "system.description.input_sampling_rate",
    "system.description.acoustic_features", "system.description.machine_learning_method",
}  # fmt: skip
_NUMBER_NEEDED = {"system.complexity.total_parameters"}
_NUMBER = _NUMBER_NEEDED | {"system.description.ensemble_method_subsystem_count"}
_ABSENT = object()


@dataclass(frozen=True, kw_only=True)
class SystemFacts:
    """What a run knows of itself for the meta file. None says "not applicable", <text> is still to be filled in.

    Fields that the template of a year does not ask for are left out of its meta file. Several methods are
    separated by commas. Field names are those of the template, except where a unit is spelt out.
    """

    name: str
    abbreviation: str  # at most 10 characters
    sampling_rate_hz: int
    acoustic_features: str = "<features>"
    machine_learning_method: str = "<method>"
    total_parameters: int | None = None  # all subsystems and embedding networks together; to be filled in where None
    macs: int | None = None  # multiply-accumulates for one clip
    data_augmentation: str | None = None
    front_end: str | None = None
    embeddings: str | None = None
    aggregation_method: str | None = None
    domain_adaptation_method: str | None = None
    domain_generalization_method: str | None = None
    attribute_usage: str | None = None
    ensemble_method_subsystem_count: int | None = None
    decision_making: str | None = None
    external_data_usage: str | None = None
    development_data_usage: str | None = None
    external_datasets: tuple[Mapping[str, str | float], ...] = ()  # name, url, total_audio_length
    source_code: str | None = None
    results: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # machine -> key -> per cent


def load_meta(path: Path) -> Meta:
    """Read a YAML mapping."""
    return read_yaml(path, advice=f"; start from {_TEMPLATES}/<year>.yaml")


def load_template(year: Year, path: Path | None = None) -> Meta:
    """The meta template of a year, or the one in `path`."""
    path = path or _TEMPLATES / f"{year.year}.yaml"
    template = load_meta(path)
    for section in _SECTIONS:
        if not isinstance(template.get(section), dict):
            raise AsdError(f"{path} has no section {section!r}: a meta template has {', '.join(_SECTIONS)}.")
    figures, authors = template["results"].get("development_dataset") or {}, template["submission"].get("authors") or []
    parts = [*figures.values(), *authors] if isinstance(figures, dict) and isinstance(authors, list) else [None]
    if not all(isinstance(part, dict) for part in parts):
        raise AsdError(
            f"{path} is no meta template: results.development_dataset holds figures by machine, and submission.authors "
            f"is a list of what is asked of each author."
        )
    return template


def result_keys(template: Meta) -> tuple[str, ...]:
    """Names of the figures that a template wants of each machine of the development set."""
    machines: Mapping[str, Mapping[str, float]] = template["results"].get("development_dataset") or {}
    return tuple(next(iter(machines.values()), {}))


def fill_meta(template: Meta, facts: SystemFacts, label: str, user: Meta | None = None) -> Meta:
    """The meta file: the template, under the facts, under the user's own entries, in the template's layout.

    The template's keys decide what is asked for. `AsdError` for results under other names than the template's, or a key
    of the user's that it lacks.
    """
    asked = result_keys(template)
    for machine, figures in facts.results.items():
        if {*figures} != {*asked}:
            raise AsdError(f"results of {machine} are {', '.join(figures)}: the template has {', '.join(asked)}.")
    known: Meta = {
        "submission": {"name": facts.name, "abbreviation": facts.abbreviation},
        "system": {
            "description": {**vars(facts), "input_sampling_rate": f"{facts.sampling_rate_hz / 1000:g} kHz"},
            "complexity": {"total_parameters": facts.total_parameters, "MACs": facts.macs},
            "external_datasets": [dict(entry) for entry in facts.external_datasets] or None,
            "source_code": facts.source_code,
        },
    }
    meta = _merged(template, _common(known, template))
    if facts.results:
        machines = {machine: {key: float(figures[key]) for key in asked} for machine, figures in facts.results.items()}
        meta["results"] = {**meta["results"], "development_dataset": machines}
    return _merged(_merged(meta, user or {}), {"submission": {"label": label}})


def _common(known: Meta, template: Meta) -> Meta:
    """The part of `known` whose keys the template has, at every level."""
    return {
        key: _common(value, template[key]) if isinstance(value, dict) else value
        for key, value in known.items()
        if key in template and (not isinstance(value, dict) or isinstance(template[key], dict))
    }


def _merged(base: Meta, over: Meta, where: str = "") -> Meta:
    """`base` with the entries of `over` in place of its own; machines under `results` may be new."""
    merged = dict(base)
    for key, value in over.items():
        path = f"{where}.{key}".lstrip(".")
        if key not in base and not path.startswith("results."):
            near = difflib.get_close_matches(str(key), base, n=1)
            guess = f": did you mean {near[0]}?" if near else f": it has {', '.join(base)}."
            raise AsdError(f"{path} is not a key of the meta template{guess}")
        both = isinstance(base.get(key), dict) and isinstance(value, dict)
        merged[key] = _merged(base[key], value, path) if both else value
    return merged


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
    if (named := _lookup(meta, "submission.label")) != label:
        yield f"submission.label is {named!r} in place of {label!r}."
    for path, _ in flattened(template):
        if path == "submission.label" or path.startswith("results."):
            continue
        if (value := _lookup(meta, path, _ABSENT)) is _ABSENT:
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
    results = _lookup(meta, "results.development_dataset")
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
        for path, usual in flattened(asked):
            value = _lookup(author, path)
            if path == "corresponding":
                if not isinstance(value, bool | None):
                    yield f"{where}.{path} is {value!r}: it must be true or false."
            elif value is None or not str(value).strip():
                if usual is not None:
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
