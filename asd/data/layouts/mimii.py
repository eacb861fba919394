"""MIMII: `<type>/id_<NN>/{normal,abnormal}/<number>.wav`, of eight channels.

MIMII DUE and MIMII DG have the names of the challenge, and are read as such.

Source: Purohit et al., "MIMII dataset: sound dataset for malfunctioning industrial machine investigation and
inspection", 2019.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from asd.data.layouts.words import machine_names
from asd.places import is_recording
from asd.types import AsdError, Clip, Label, Split

_ID = re.compile(r"id_(\d{2})")
_LABELS = {"normal": Label.NORMAL, "abnormal": Label.ANOMALY}


def clips(root: Path, files: Sequence[Path]) -> list[Clip] | None:
    """The clips of a folder in MIMII's layout; None where nothing in it is.

    Raises:
        AsdError: a recording lies outside the layout.
    """
    recordings = [path for path in files if is_recording(path)]
    places = {path: path.relative_to(root).parts[:-1] for path in recordings}
    inside = {path for path, parts in places.items() if _is_place(parts)}
    if not inside:
        return None
    if outside := sorted(places.keys() - inside):
        raise AsdError(
            f"{outside[0]} lies in no folder <type>/id_<NN>/normal or abnormal, as others under {root} do; move it, or "
            f"name another layout="
        )
    names = machine_names(parts[:-2] for parts in places.values())
    return [
        Clip(path, names[parts[:-2]], parts[-2][3:], _split(parts[-1]), None, _LABELS[parts[-1]])
        for path, parts in places.items()
    ]


def _is_place(parts: Sequence[str]) -> bool:
    return len(parts) > 1 and parts[-1] in _LABELS and bool(_ID.fullmatch(parts[-2]))


def _split(label: str) -> Split:
    return Split.TRAIN if label == "normal" else Split.TEST
