"""A data folder, whatever its layout: its machines and their clips.

The challenge's is read by `challenge.files`, with all its rules: names outside its grammar and other sample rates are
refused. The others are recordings of one's own, which are taken as they are.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from os.path import commonpath
from pathlib import Path

from asd.challenge import files
from asd.challenge.names import follows_grammar
from asd.core.runtime import fingerprint, log
from asd.core.storage import content_hashes
from asd.data.layouts import REGISTRY, table, toyadmos
from asd.places import is_recording, is_table, walk_tree
from asd.types import AsdError, Clip, Label, Split, named, one_of

LAYOUTS = ("auto", "challenge", *REGISTRY)
HELD_OUT = 0.2  # of the normal recordings, where nothing says which are for the check
_VERBS = {Split.TRAIN: "learn from", Split.TEST: "score", Split.SUPPLEMENTAL: "use beside"}
_WAYS = {  # by layout, to choose what is held out
    "table": "write test into the column split of those of your choice",
    "given": "give data=FOLDER with normal/ and test/normal/",
}


@dataclass(frozen=True)
class ChallengeData:
    """A folder in the challenge's layout, which holds <machine>/train and so on."""

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


@dataclass(frozen=True)
class OwnData:
    """Recordings of one's own."""

    root: Path  # where they lie, for messages
    layout: str  # and how
    by_machine: Mapping[str, Sequence[Clip]]  # with names that are unique in it; those held out are test clips
    n_held_out: Mapping[str, int]  # how many these are, by machine

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
            way = _WAYS.get(self.layout, "put those of your choice into test/normal")
            sentences.append(
                f"{count} of {n_normal} normal recordings (drawn by their names) are held out for the check; {way} "
                f"instead"
            )
        return sentences


Dataset = ChallengeData | OwnData


def open_data(
    root: Path, layout: str = "auto", machines: Sequence[str] = ("all",), held_out: float = HELD_OUT
) -> Dataset:
    """The recordings of a data folder, or of a table; with the layout "auto" the first of `LAYOUTS` that fits.

    `machines` are those that are asked for; a single name is that of a folder that names none itself. `AsdError` for an
    unknown layout, one that does not fit, or recordings of which nothing tells what they are.
    """
    one_of(layout, LAYOUTS, "layout")
    if is_table(root):
        return own_data(root, "table", table.read_table(root), machines, held_out)
    if layout == "auto" and files.has_challenge_names(root):
        _warn_of_other_folders(root)
        return ChallengeData(root)
    if layout == "challenge" or not root.is_dir():
        return ChallengeData(root)
    every = sorted(walk_tree(root))
    if layout == "auto" and any(p.parent.name in files.CLIP_FOLDERS and _has_challenge_name(p) for p in every):
        return ChallengeData(root)
    for name in REGISTRY if layout == "auto" else [layout]:
        if clips := REGISTRY[name](root, every):
            if name != "table":
                _warn_of_challenge_names(clips)
            if name == "toyadmos" and (others := toyadmos.left_out(every, clips)):
                log.info("%s: recordings are left out: %s", root, others)
            return own_data(root, name, clips, machines, held_out)
    if not any(map(is_recording, every)):
        return ChallengeData(root)  # its sentences say what is missing
    if layout != "auto":
        raise AsdError(f"layout={layout} does not fit {root}; leave it out, or name another of {', '.join(LAYOUTS)}")
    raise AsdError(
        f"{root} holds recordings, and no folder or name in it says which are normal; put them into <machine>/normal "
        f"and <machine>/abnormal, list them in recordings.csv, or name normal ones with normal="
    )


def _warn_of_other_folders(root: Path) -> None:
    """Warns of recordings beside the machines of the challenge, in folders that are none."""
    known = {*files.list_machines(root)}
    others = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    others = [folder for folder in others if unicodedata.normalize("NFC", folder.name) not in known]
    if left := [folder.name for folder in others if any(map(is_recording, walk_tree(folder)))]:
        log.warning(
            f"{root} is read as in the challenge, where a machine has train/ and test/, and without the recordings in "
            f"{named(left)}; put those into another folder, and name it with data="
        )


def _has_challenge_name(path: Path) -> bool:
    return follows_grammar(path, "", Split.TEST)


def _warn_of_challenge_names(clips: Sequence[Clip]) -> None:
    """Warns of names of the challenge, which are not read, unless the label and section in them are known anyway."""
    for clip in clips:
        is_known = clip.path.stem.startswith(f"{clip.label}_id_{clip.section}_")  # in 2020
        if _has_challenge_name(clip.path.with_suffix(".wav")) and not is_known:
            log.warning(
                f"{clip.path} is named as in the challenge, and does not lie as there (WAV files in <machine>/train "
                f"and <machine>/test): its name is not read"
            )
            return


def own_data(root: Path, layout: str, clips: Iterable[Clip], machines: Sequence[str], held_out: float) -> OwnData:
    """Clips by machine, under unique names, a share of the normal ones held out where the check has none.

    `machines` are those that are asked for; a single name is that of the clips that name none. `AsdError` where a
    recording is there twice, an anomaly is to be learnt from, or a machine is called "all".
    """
    alone = machines[0] if len(machines) == 1 and machines[0] != "all" else _place_name(root)
    by_machine: dict[str, list[Clip]] = {}
    spellings: dict[str, str] = {}
    for clip in clips:
        spelling = clip.machine or alone
        machine = unicodedata.normalize("NFC", spelling)  # as options are
        if clip.split is Split.TRAIN and clip.label is Label.ANOMALY:
            what = f"{clip.path} is an anomaly, and its split in {root} is train"
            raise AsdError(f"{what}; a model is fitted on normal recordings, so write test")
        if spellings.setdefault(machine, spelling) != spelling:
            raise AsdError(f"{root} has the machine {machine} in two spellings of its accents; rename one folder")
        by_machine.setdefault(machine, []).append(replace(clip, machine=machine))
    if "all" in by_machine:
        way = "give it another name (by machine=NAME, where there is no other)"
        raise AsdError(f"{root} has a machine called all, which is the word for all machines; {way}")
    unique = {machine: _with_unique_names(own, root) for machine, own in by_machine.items()}
    split = {machine: _with_held_out(own, held_out) for machine, own in unique.items()}
    return OwnData(root, layout, split, {m: _n_test(split[m]) - _n_test(own) for m, own in unique.items()})


def _n_test(clips: Sequence[Clip]) -> int:
    return sum(clip.split is Split.TEST for clip in clips)


def _place_name(root: Path) -> str:
    """What a machine is called that has no name: the folder's, of a file or a pattern the one above."""
    place = root.absolute()
    while is_table(place) or is_recording(place) or ({*"*?[{"} & {*place.name} and not place.exists()):
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
    """The clips, with a share of the training clips as test clips where no test clip is normal, unless all lack labels.

    The share is taken of each section and domain. Which clips are taken depends on their names alone, so that trainings
    with another seed, or with a recording more, are checked with the same ones.
    """
    labels = {clip.label for clip in clips if clip.split is Split.TEST}
    if Label.NORMAL in labels or labels == {None}:
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


def data_hash(dataset: Dataset, machines: Sequence[str], splits: Sequence[Split]) -> str:
    """Hash of recordings, by what is known of each and by its content where that lies here."""
    clips = [clip for machine in machines for split in splits for clip in dataset.clips(machine, split)]
    known = [astuple(replace(clip, path=Path(clip.name))) for clip in clips]
    return fingerprint(known, content_hashes([clip.path for clip in clips]))
