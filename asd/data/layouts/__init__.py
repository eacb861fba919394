"""Recordings of one's own, and how they lie in folders: each layout is a pure function from a list of files to clips.

A layout returns None where it does not fit. Its clips have machine, label, domain, section and attributes as far as
folders and names tell them; `machine` is empty where the data folder is that of the machine itself. Clips that nothing
assigns to training or test are training clips where they are normal; `dataset.own_data` then holds some out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from asd.data.layouts import plain, table, toyadmos
from asd.types import Clip

Layout = Callable[[Path, Sequence[Path]], list[Clip] | None]  # data folder, all files under it

# In the order in which they are tried. The challenge's comes before all of them; `challenge.files` reads it.
REGISTRY: dict[str, Layout] = {
    "table": table.clips,
    "mimii": plain.mimii_clips,
    "toyadmos": toyadmos.clips,
    "industrial": plain.industrial_clips,
    "plain": plain.clips,
}
