"""Meta file of a system: a template, filled with what the run knows, under what only its authors know.

The template is `meta/<year>.yaml` or the organisers' own. Its keys decide what is asked for; text in
<angle brackets> is still to be filled in; null says "not applicable".
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asd.challenge.years import Year
from asd.core.files import read_yaml
from asd.types import AsdError

Meta = dict[str, Any]  # a YAML mapping: nested mappings, lists, text, numbers, None

_TEMPLATES = Path(__file__).with_name("meta")
_SECTIONS = ("submission", "system", "results")


@dataclass(frozen=True, kw_only=True)
class SystemFacts:
    """What a run knows of itself for the meta file. None says "not applicable".

    Fields that the template of a year does not ask for are left out of its meta file. Several methods are
    separated by commas. Field names are those of the template, except where a unit is spelt out.
    """

    name: str
    abbreviation: str  # at most 10 characters
    sampling_rate_hz: int
    acoustic_features: str
    machine_learning_method: str
    total_parameters: int  # all subsystems and embedding networks together
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
