"""Addresses such as s3://bucket/plant, and the paths that stand for them: no storage is touched here.

An address is a path like any other to all code: its mirror, `<cache>/asd-mirror/s3/bucket/plant`. What lies in a mirror
and how it gets there is up to `core.storage`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from asd.types import AsdError

_MARK = "asd-mirror"  # the folder of all mirrors, by which a path in one is known on any computer
_ADDRESS = re.compile(r"[a-z][a-z0-9+.:-]*://")
_ROOTED = ("file", "local")  # protocols whose paths begin at /


def is_address(place: object) -> bool:
    """Whether a place is an address such as s3://bucket/plant, and no path."""
    return isinstance(place, str) and _ADDRESS.match(place) is not None


def mirrored(place: str | Path) -> Path:
    """The folder or file that stands for an address; a path stands for itself.

    Raises:
        AsdError: an address without a place in it, or with . or .. on the way.
    """
    if not is_address(place):
        return Path(place)
    protocol, _, rest = str(place).partition("://")
    parts = [part for part in rest.split("/") if part]
    if not parts or {".", ".."} & {*parts}:
        raise AsdError(f"{place} is no address of a folder; write it like s3://bucket/folder")
    return _cache().joinpath(_MARK, protocol, *parts)


def address_of(path: Path) -> str | None:
    """The address that a path stands for; None for a path that stands for itself."""
    _, mark, inner = str(path.absolute()).partition(f"/{_MARK}/")
    protocol, _, rest = inner.partition("/")
    return f"{protocol}://{'/' * (protocol in _ROOTED)}{rest}" if mark and rest else None


def written(path: Path) -> str:
    """How a place is written down so that every computer knows it: its address, or the absolute path."""
    return address_of(path) or str(path.resolve())


def spelled(text: str) -> str:
    """A text with addresses in place of their mirrors."""
    mirrors = re.compile(rf"(?:{re.escape(str(_cache()))}|[^\s,;:='\"(]*)/{_MARK}/([a-z0-9+.:-]+)/")
    return mirrors.sub(lambda m: f"{m[1]}://{'/' * (m[1] in _ROOTED)}", text) if _MARK in text else text


def _given(value: Any) -> Any:
    try:
        return mirrored(value) if is_address(value) else value
    except AsdError as error:
        raise ValueError(str(error)) from error


TO_MIRROR = BeforeValidator(_given)
Place = Annotated[Path, TO_MIRROR, PlainSerializer(lambda path: spelled(str(path)), when_used="json")]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
