"""YAML of unknown honesty to plain values: whatever is wrong with it is one kind of error."""

from __future__ import annotations

import math
from typing import Any

import yaml

MOST_VALUES = 100_000  # a file that somebody wrote by hand has hundreds


def load_yaml(text: str | bytes) -> Any:
    """Plain values of a YAML document.

    Args:
        text: the document; bytes are read as UTF-8, or as UTF-16 where a byte order mark says so.

    Raises:
        yaml.YAMLError: no YAML, nested too deeply, a date or number that there is not, or aliases that unfold to
            more than MOST_VALUES values (a few lines can stand for billions).
    """
    try:
        content = yaml.safe_load(text)
        n_values = _n_values(content, {})
    except (ValueError, OverflowError) as error:  # "2025-02-30", bytes that are no text
        raise yaml.YAMLError(str(error)) from error
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    if n_values > MOST_VALUES:
        raise yaml.YAMLError(f"its aliases unfold to more than {MOST_VALUES} values: write them out")
    return content


def _n_values(value: Any, known: dict[int, float]) -> float:
    """How many values a tree holds with every alias written out; infinity where one holds itself."""
    if not isinstance(value, (list, dict, tuple, set)):
        return 1
    if id(value) not in known:
        known[id(value)] = math.inf  # until it is counted
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_n_values(part, known) for part in parts)
    return known[id(value)]
