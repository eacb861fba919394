"""A data folder: which machines it holds and which clips of each, whatever its layout.

The challenge's is read by `challenge.files`, with all its rules: names outside its grammar and other sample rates are
refused. The others are recordings of one's own, which are taken as they are.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asd.challenge import files
from asd.challenge.names import follows_grammar
from asd.core.runtime import log
from asd.data.given import clips_of_files
from asd.data.layouts import REGISTRY, table
from asd.places import is_recording, is_table, walk_tree
from asd.types import AsdError, Clip, Label, Split, named, one_of

LAYOUTS = ("auto", "challenge", *REGISTRY)
HELD_OUT = 0.2  # of the normal recordings, where nothing says which are for the check


@dataclass(frozen=True)
class ChallengeData:
    """A folder in the challenge's layout.

    Attributes:
        root: folder that holds <machine>/train and so on.
    """

    root: Path

    layout = "challenge"
    is_strict = True  # recordings have the sample rate of the run

    def machines(self) -> list[str]:
        """Names of the machines, sorted."""
        return files.list_machines(self.root)

    def require(self, machine: str) -> None:
        """Raises AsdError unless there is such a machine."""
        files.machine_folder(self.root, machine)

    def clips(self, machine: str, split: Split) -> list[Clip]:
        """The clips of a machine and split, sorted by name."""
        return files.list_clips(self.root, machine, split)

    def has_test(self, machine: str) -> bool:
        """Whether there is a folder for test clips."""
        return any(files.machine_folder(self.root, machine).glob("*test*"))

    def warnings(self, machine: str) -> list[str]:
        """What the attribute tables of a machine and its recordings do not share."""
        return files.attribute_gaps(self.root, machine)

    def notices(self, machine: str) -> list[str]:
        """Nothing: all of it is laid down."""
        return []


@dataclass(frozen=True)
class OwnData:
    """Recordings of one's own.

    Attributes:
        root: where they lie, for messages.
        layout: how.
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
        """The clips of a machine and split, sorted by name.

        Raises:
            AsdError: an unknown machine, or one without such clips.
        """
        self.require(machine)
        found = [clip for clip in self.by_machine[machine] if clip.split is split]
        if not found:
            what, where = ("normal", "normal/") if split is Split.TRAIN else ("test", "test/")
            way = f"add some to {where}"
            if self.layout == "table":
                way = f"write {'normal into the column label' if what == 'normal' else 'test into the column split'}"
            raise AsdError(f"{machine} has no {what} recordings in {self.root}; {way}")
        return sorted(found, key=lambda clip: clip.name)

    def has_test(self, machine: str) -> bool:
        """Whether there are test clips."""
        return any(clip.split is Split.TEST for clip in self.by_machine.get(machine, ()))

    def warnings(self, machine: str) -> list[str]:
        """Nothing: tables of attributes are part of the challenge's layout."""
        return []

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
            n_normal = sum(clip.label is Label.NORMAL for clip in clips)
            sentences.append(
                f"{count} of {n_normal} normal recordings (drawn by their names) are held out for the "
                f"check; put those of your choice into test/normal instead"
            )
        return sentences


Dataset = ChallengeData | OwnData

_VERBS = {Split.TRAIN: "learn from", Split.TEST: "score", Split.SUPPLEMENTAL: "use beside"}


def open_data(
    root: Path, layout: str = "auto", machines: Sequence[str] = ("all",), held_out: float = HELD_OUT
) -> Dataset:
    """The recordings of a data folder, or of a table.

    Args:
        root: data folder, or a table of recordings.
        layout: one of `LAYOUTS`; "auto": the first that fits.
        machines: the machines that are asked for; a single name is that of a folder that names none itself.

    Raises:
        AsdError: an unknown layout, one that does not fit, or recordings of which nothing tells what they are.
    """
    one_of(layout, LAYOUTS, "layout")
    if is_table(root):
        return own_data(root, "table", table.read_table(root), machines, held_out)
    if layout == "challenge" or (layout == "auto" and files.has_challenge_names(root)) or not root.is_dir():
        return ChallengeData(root)
    every = sorted(walk_tree(root))
    if layout == "auto" and any(_is_of_challenge(path) for path in every):
        return ChallengeData(root)
    for name in REGISTRY if layout == "auto" else [layout]:
        if clips := REGISTRY[name](root, every):
            if name != "table":
                _look_at_names(clips)
            return own_data(root, name, clips, machines, held_out)
    if not any(map(is_recording, every)):
        return ChallengeData(root)  # its sentences say what is missing
    if layout != "auto":
        raise AsdError(f"layout={layout} does not fit {root}; leave it out, or name another of {', '.join(LAYOUTS)}")
    raise AsdError(
        f"{root} holds recordings, and no folder or name in it says which are normal; put them into <machine>/normal "
        f"and <machine>/abnormal, list them in recordings.csv, or name normal ones with normal="
    )


def given_data(normal: str, abnormal: str | None, machines: Sequence[str], held_out: float = HELD_OUT) -> OwnData:
    """Recordings that are named one by one: normal ones, and anomalous ones for the check.

    Args:
        normal, abnormal: each a file, a folder, a pattern or a table.
        machines, held_out: as of `open_data`.

    Raises:
        AsdError: there are none.
    """
    clips = clips_of_files(normal, "", Split.TRAIN)
    if abnormal:
        faulty = clips_of_files(abnormal, "", Split.TEST)
        clips += [replace(clip, label=Label.ANOMALY) for clip in faulty]
    return own_data(Path(normal), "given", [replace(clip, machine="") for clip in clips], machines, held_out)


def own_data(
    root: Path, layout: str, clips: Iterable[Clip], machines: Sequence[str], held_out: float = HELD_OUT
) -> OwnData:
    """Clips by machine, under unique names, some normal ones held out where the check has none.

    Args:
        root: where they lie.
        layout: how.
        clips: of all machines.
        machines, held_out: as of `open_data`.

    Raises:
        AsdError: a recording is there twice.
    """
    alone = machines[0] if len(machines) == 1 and machines[0] != "all" else _place_name(root)
    by_machine: dict[str, list[Clip]] = {}
    for clip in clips:
        by_machine.setdefault(clip.machine or alone, []).append(replace(clip, machine=clip.machine or alone))
    unique = {machine: _with_unique_names(own, root) for machine, own in by_machine.items()}
    split = {machine: _with_held_out(own, held_out) for machine, own in unique.items()}
    changed = {
        machine: sum(
            before.split is not after.split for before, after in zip(unique[machine], split[machine], strict=True)
        )
        for machine in unique
    }
    return OwnData(root, layout, split, changed)


def _place_name(root: Path) -> str:
    """What a machine is called that has no name: the folder's, of a file or a pattern the one above."""
    place = root.absolute()
    while is_table(place) or is_recording(place) or {*"*?["} & {*place.name}:
        place = place.parent
    return place.name or "machine"


def _is_of_challenge(path: Path) -> bool:
    """Whether a recording has a name of the challenge in a folder of the challenge, at whatever depth."""
    return path.parent.name in files.CLIP_FOLDERS and follows_grammar(path, "", Split.TEST)


def _look_at_names(clips: Sequence[Clip]) -> None:
    """Warns of recordings with names of the challenge, and refuses to learn from what is an anomaly by such a name."""
    named = [clip for clip in clips if follows_grammar(clip.path.with_suffix(".wav"), "", Split.TEST)]
    for clip in named:
        if clip.split is Split.TRAIN and "anomaly" in clip.path.stem.split("_"):
            raise AsdError(
                f"{clip.path} lies where normal recordings do, and is an anomaly by its name; move it to test/"
            )
    if named:
        log.warning(
            "%s is named as in the challenge, and does not lie as there (WAV files in <machine>/train and "
            "<machine>/test): its name is not read",
            named[0].path,
        )


def _with_unique_names(clips: Sequence[Clip], root: Path) -> list[Clip]:
    """File names where they are unique in a machine; where they are not, the path from the machine's folder."""
    twice = [path for path, n in Counter(clip.path for clip in clips).items() if n > 1]
    if twice:
        raise AsdError(f"{twice[0]} is named twice in {root}; name each recording once")
    count = Counter(clip.path.name for clip in clips)
    repeated = [clip for clip in clips if count[clip.path.name] > 1]
    above = _common_folder([clip.path for clip in repeated])
    return [
        replace(clip, file=clip.path.relative_to(above).as_posix() if count[clip.path.name] > 1 else clip.path.name)
        for clip in clips
    ]


def _common_folder(paths: Sequence[Path]) -> Path:
    """The deepest folder that holds all of the paths."""
    parents = [path.parent.parts for path in paths]
    shared = 0
    while parents and all(len(parts) > shared and parts[shared] == parents[0][shared] for parts in parents):
        shared += 1
    return Path(*parents[0][:shared]) if parents else Path()


def _with_held_out(clips: Sequence[Clip], share: float) -> list[Clip]:
    """The clips, with a share of the normal ones as test clips where the check has anomalies or nothing at all.

    The share is taken of each section and domain. Which clips it are depends on their names alone, so that another seed
    and a recording more are checked with the same ones.
    """
    test = [clip for clip in clips if clip.split is Split.TEST]
    if any(clip.label is not Label.ANOMALY for clip in test):
        return list(clips)
    strata: dict[object, list[Clip]] = {}
    for clip in clips:
        if clip.split is Split.TRAIN:
            strata.setdefault((clip.section, clip.domain), []).append(clip)
    held = {
        clip.name for members in strata.values() for clip in sorted(members, key=_draw)[: round(share * len(members))]
    }
    if strata and all(clip.name in held for members in strata.values() for clip in members):
        raise AsdError(
            f"held_out={share:g} leaves no normal recording of {clips[0].machine} to learn from; give a smaller share"
        )
    return [replace(c, split=Split.TEST) if c.split is Split.TRAIN and c.name in held else c for c in clips]


def _draw(clip: Clip) -> str:
    """A number of each clip by its name, as if drawn with one seed for all."""
    return hashlib.sha256(f"held out {clip.name}".encode()).hexdigest()
