"""Industrial inspection: `<machine>/train/good`, `<machine>/test/good` and `<machine>/test/<defect>`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asd.data.layouts import plain
from asd.data.layouts.words import NORMAL
from asd.types import Clip, is_recording


def clips(root: Path, files: Sequence[Path]) -> list[Clip] | None:
    """The clips of a folder in which train/ holds good/ and everything else lies in test/; None of any other.

    Args:
        root: data folder, above the machines, or the folder of a machine.
        files: all files under it.

    Raises:
        AsdError: as `plain.clips`.
    """
    places = [tuple(map(str.lower, p.relative_to(root).parts[:-1])) for p in files if is_recording(p)]
    learnt = [parts for parts in places if "train" in parts]
    if not learnt or not all("train" in parts or "test" in parts for parts in places):
        return None
    if not all({*parts[parts.index("train") + 1 :]} & NORMAL for parts in learnt):
        return None
    return plain.clips(root, files)
