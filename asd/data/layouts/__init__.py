"""Recordings of one's own, and how they lie in folders: each layout is a pure function from a list of files to clips.

A layout returns None where it does not fit. Its clips have machine, label, domain, section and attributes as far as
folders and names tell them; `machine` is empty where the data folder is that of the machine itself. Clips that nothing
assigns to training or test are training clips where they are normal; `own_data` then holds some out.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import commonpath
from pathlib import Path

from asd.data.layouts import plain, table, toyadmos
from asd.places import is_recording, is_table
from asd.types import AsdError, Clip, Label, Split, named

HELD_OUT = 0.2  # of the normal recordings, where nothing says which are for the check
_VERBS = {Split.TRAIN: "learn from", Split.TEST: "score", Split.SUPPLEMENTAL: "use beside"}

Layout = Callable[[Path, Sequence[Path]], list[Clip] | None]  # data folder, all files under it

# In the order in which they are tried. The challenge's comes before all of them; `challenge.files` reads it.
REGISTRY: dict[str, Layout] = {
    "table": table.clips,
    "mimii": plain.mimii_clips,
    "toyadmos": toyadmos.clips,
    "industrial": plain.industrial_clips,
    "plain": plain.clips,
}


@dataclass(frozen=True)
class OwnData:
    """Recordings of one's own.

    Attributes:
        root, layout: where they lie, for messages, and how.
        by_machine: clips of each machine, with names that are unique in it; those that are held out are test clips.
        n_held_out: how many these are, by machine.
    """

    root: Path
    layout: str
    by_machine: Mapping[str, Sequence[Clip]]
    n_held_out: Mapping[str, int]

    is_strict = False

    def machines(self) -> list[str]:
        """Names of the machines, sorted."""
        return sorted(self.by_machine)

    def require(self, machine: str) -> None:
        """Raises AsdError unless there is such a machine."""
        if machine not in self.by_machine:
            raise AsdError(f"machine={machine!r} is not in {self.root}; it holds {', '.join(self.machines())}")

    def clips(self, machine: str, split: Split) -> list[Clip]:
        """The clips of a machine and split, sorted by name; `AsdError` where there are none."""
        self.require(machine)
        found = [clip for clip in self.by_machine[machine] if clip.split is split]
        if not found:
            what = "normal" if split is Split.TRAIN else "test"
            if split is Split.TRAIN and any(clip.label is Label.NORMAL for clip in self.by_machine[machine]):
                what = "train"  # there are normal ones, and all are for the check
            way = f"add some to {what}/"
            if self.layout == "table":
                way = f"write {what} into the column {'label' if what == 'normal' else 'split'}"
            raise AsdError(f"{machine} has no {what} recordings in {self.root}; {way}")
        return sorted(found, key=lambda clip: clip.name)

    def has_test(self, machine: str) -> bool:
        """Whether there are test clips."""
        return _n_test(self.by_machine.get(machine, ())) > 0

    def notices(self, machine: str) -> list[str]:
        """Counts of the clips, names that were taken for faults, and what was held out."""
        clips = self.by_machine.get(machine, ())
        counts = Counter((clip.split, clip.label) for clip in clips)
        words = [
            f"{n} {label or 'unlabelled'} to {_VERBS[split]}" for (split, label), n in sorted(counts.items(), key=str)
        ]
        for key in ("fault", "folder"):
            if names := sorted({clip.attributes[key] for clip in clips if key in clip.attributes}):
                words[-1] += f"; {key}s {named(names)}"
        sentences = [f"layout {self.layout}: {', '.join(words)}"]
        if count := self.n_held_out.get(machine, 0):
            n_normal = sum(clip.split is Split.TRAIN for clip in clips) + count
            sentences.append(
                f"{count} of {n_normal} normal recordings (drawn by their names) are held out for the "
                f"check; put those of your choice into test/normal instead"
            )
        return sentences


def own_data(
    root: Path, layout: str, clips: Iterable[Clip], machines: Sequence[str], held_out: float = HELD_OUT
) -> OwnData:
    """Clips by machine, under unique names, some normal ones held out where the check has none.

    Args:
        root, layout: where they lie, and how.
        clips: of all machines.
        machines: that are asked for; a single name is that of the clips that name none.
        held_out: share of the normal clips.

    Raises:
        AsdError: a recording is there twice.
    """
    alone = machines[0] if len(machines) == 1 and machines[0] != "all" else _place_name(root)
    by_machine: dict[str, list[Clip]] = {}
    for clip in clips:
        by_machine.setdefault(clip.machine or alone, []).append(replace(clip, machine=clip.machine or alone))
    unique = {machine: _with_unique_names(own, root) for machine, own in by_machine.items()}
    split = {machine: _with_held_out(own, held_out) for machine, own in unique.items()}
    return OwnData(root, layout, split, {m: _n_test(split[m]) - _n_test(own) for m, own in unique.items()})


def _n_test(clips: Sequence[Clip]) -> int:
    return sum(clip.split is Split.TEST for clip in clips)


def _place_name(root: Path) -> str:
    """What a machine is called that has no name: the folder's, of a file or a pattern the one above."""
    place = root.absolute()
    while is_table(place) or is_recording(place) or {*"*?["} & {*place.name}:
        place = place.parent
    return place.name or "machine"


def _with_unique_names(clips: Sequence[Clip], root: Path) -> list[Clip]:
    """File names where they are unique in a machine; where they are not, the path from the machine's folder."""
    twice = [path for path, n in Counter(clip.path for clip in clips).items() if n > 1]
    if twice:
        raise AsdError(f"{twice[0]} is named twice in {root}; name each recording once")
    count = Counter(clip.path.name for clip in clips)
    paths = {clip.path: clip.path.absolute() for clip in clips if count[clip.path.name] > 1}
    above = commonpath([path.parent for path in paths.values()]) if paths else ""
    return [
        replace(clip, file=paths[clip.path].relative_to(above).as_posix() if clip.path in paths else clip.path.name)
        for clip in clips
    ]


def _with_held_out(clips: Sequence[Clip], share: float) -> list[Clip]:
    """The clips, with a share of the normal ones as test clips where the check has anomalies or nothing at all.

    The share is taken of each section and domain. Which clips it are depends on their names alone, so that another seed
    and a recording more are checked with the same ones.
    """
    if any(clip.split is Split.TEST and clip.label is not Label.ANOMALY for clip in clips):
        return list(clips)
    strata: dict[object, list[Clip]] = {}
    for clip in clips:
        if clip.split is Split.TRAIN:
            strata.setdefault((clip.section, clip.domain), []).append(clip)
    held: set[str] = set()
    for members in strata.values():  # in the order of a number of each clip, as if drawn with one seed for all
        names = (clip.name for clip in members)
        drawn = sorted(names, key=lambda name: hashlib.sha256(f"held out {name}".encode()).hexdigest())
        held.update(drawn[: round(share * len(members))])
    if strata and all(clip.name in held for members in strata.values() for clip in members):
        raise AsdError(
            f"held_out={share:g} leaves no normal recording of {clips[0].machine} to learn from; give a smaller share"
        )
    return [replace(c, split=Split.TEST) if c.split is Split.TRAIN and c.name in held else c for c in clips]
