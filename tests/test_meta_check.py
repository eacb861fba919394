"""Every defect a meta file can have, one by one."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest
import yaml

from asd.challenge.system_meta import fill_meta, load_template, meta_defects, meta_warnings, parse_meta
from asd.challenge.years import YEARS, get_year
from tests.made_submission import LABEL, USER, facts

TEMPLATE = load_template(get_year(2025))
MACHINES = tuple(get_year(2025).dev)
AUTHOR = USER["submission"]["authors"][0]
DROP = object()


def filled() -> dict[str, Any]:
    return deepcopy(fill_meta(TEMPLATE, facts(get_year(2025)), LABEL, USER))


def with_value(path: str, value: object) -> dict[str, Any]:
    """A filled meta file with another value at a dotted path, or without it."""
    meta: Any = filled()
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    target = meta
    for key in parents:
        target = target[key]
    if value is DROP:
        del target[last]
    else:
        target[last] = value
    return meta


DEFECTS = [
    ("submission.label", "Other_LAB_task2_1", r"submission\.label is 'Other_LAB_task2_1' in place of"),
    ("submission.label", DROP, r"submission\.label is None in place of"),
    ("submission.name", DROP, r"submission\.name is missing"),
    ("submission.name", None, r"submission\.name is empty"),
    ("submission.name", "  ", r"submission\.name is empty"),
    ("submission.name", True, r"submission\.name is True: it must be text"),
    ("submission.abbreviation", "elevenchars", r"'elevenchars' is longer than 10 characters"),
    ("submission.authors", None, r"submission\.authors is None: it must be a list"),
    ("submission.authors", [], r"submission\.authors is \[\]: it must be a list"),
    ("submission.authors.0.email", "", r"submission\.authors\[0\]\.email is empty"),
    ("submission.authors.0.lastname", DROP, r"submission\.authors\[0\]\.lastname is empty"),
    ("submission.authors.0.lastname", ["x", 1], r"submission\.authors\[0\]\.lastname is .*must be text"),
    ("submission.authors.0.affiliation.institution", None, r"\[0\]\.affiliation\.institution is empty"),
    ("submission.authors.0.corresponding", False, r"0 authors are corresponding: exactly one"),
    ("submission.authors", [AUTHOR, AUTHOR], r"2 authors are corresponding: exactly one"),
    ("system.description.front_end", DROP, r"system\.description\.front_end is missing"),
    ("system.description.front_end", "", r"front_end is empty: where it does not apply, write null"),
    ("system.description.acoustic_features", None, r"acoustic_features is empty"),
    ("system.description.embeddings", {"a": 1}, r"embeddings is .*: it must be text"),
    ("system.description.ensemble_method_subsystem_count", "two", r"must be a number"),
    ("system.complexity.total_parameters", "270k", r"total_parameters is '270k': it must be a number"),
    ("system.complexity.total_parameters", None, r"total_parameters is empty"),
    ("system.complexity.total_parameters", -1, r"total_parameters is -1"),
    ("system.complexity", DROP, r"system\.complexity\.(total_parameters|MACs) is missing"),
    ("system.external_datasets", "AudioSet", r"external_datasets holds 'AudioSet': each must have a name"),
    ("system.external_datasets", [{"name": "x"}], r"each must have a name and a url"),
    ("system.external_datasets", [], r"external_datasets is empty"),
    ("system.source_code", DROP, r"system\.source_code is missing"),
    ("results.development_dataset", None, r"results\.development_dataset is empty"),
    ("results.development_dataset.fan", DROP, r"development_dataset\.fan\.pauc is None: it must be in per"),
    ("results.development_dataset.fan.pauc", DROP, r"fan\.pauc is None"),
    ("results.development_dataset.fan.pauc", float("nan"), r"fan\.pauc is nan"),
    ("results.development_dataset.fan.pauc", 101, r"fan\.pauc is 101"),
    ("results.development_dataset.fan.pauc", "55 %", r"fan\.pauc is '55 %'"),
]


@pytest.mark.parametrize(("path", "value", "sentence"), DEFECTS)
def test_each_defect(path: str, value: object, sentence: str) -> None:
    found = list(meta_defects(with_value(path, value), TEMPLATE, LABEL, MACHINES))
    assert any(re.search(sentence, text) for text in found), found
    assert all(text.endswith(".") for text in found)
    alone = path not in {"submission.authors", "system.complexity", "results.development_dataset.fan"}
    assert len(found) == 1 or not alone, found


def test_a_second_author_needs_no_corresponding_key() -> None:
    second = {key: value for key, value in AUTHOR.items() if key != "corresponding"}
    meta = with_value("submission.authors", [AUTHOR, second])
    assert list(meta_defects(meta, TEMPLATE, LABEL, MACHINES)) == []


@pytest.mark.parametrize("content", [b"- a\n", b"a: [", b"", b"\xff\xfe", b"text"])
def test_content_that_is_no_mapping(content: bytes) -> None:
    (found,) = meta_defects(parse_meta(content), TEMPLATE, LABEL, MACHINES)
    assert found.startswith("it is no YAML mapping")


@pytest.mark.parametrize("year", YEARS)
def test_the_filled_template_has_neither_defects_nor_warnings(year: int) -> None:
    template = load_template(get_year(year))
    meta = parse_meta(yaml.safe_dump(fill_meta(template, facts(get_year(year)), LABEL, USER)).encode())
    assert list(meta_defects(meta, template, LABEL, tuple(get_year(year).dev))) == []
    assert list(meta_warnings(meta)) == []


@pytest.mark.parametrize("year", YEARS)
def test_unfilled_authors_are_warnings_not_defects(year: int) -> None:
    template = load_template(get_year(year))
    meta = fill_meta(template, facts(get_year(year)), LABEL)
    assert list(meta_defects(meta, template, LABEL, tuple(get_year(year).dev))) == []
    warned = list(meta_warnings(meta))
    assert "submission.authors[0].email still says '<e-mail address>': fill it in." in warned
    assert len(warned) == 5


def test_fractions_are_no_per_cent() -> None:
    meta = filled()
    for figures in meta["results"]["development_dataset"].values():
        figures.update(dict.fromkeys(figures, 0.61))
    (found,) = meta_warnings(meta)
    assert "at most 0.61: they must be in per cent" in found
