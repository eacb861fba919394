"""A data folder, whatever its layout: its machines and their clips.

The challenge's is read by `challenge.files`, with all its rules: names outside its grammar and other sample rates are
refused. The others are recordings of one's own, which are taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asd.challenge import files
from asd.challenge.names import follows_grammar
from asd.core.runtime import log
from asd.data.layouts import HELD_OUT, REGISTRY, OwnData, own_data, table
from asd.places import is_recording, is_table, walk_tree
from asd.types import AsdError, Clip, Split, one_of

LAYOUTS = ("auto", "challenge", *REGISTRY)


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


Dataset = ChallengeData | OwnData


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
    if layout == "auto" and any(p.parent.name in files.CLIP_FOLDERS and _has_challenge_name(p) for p in every):
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


def _has_challenge_name(path: Path) -> bool:
    return follows_grammar(path, "", Split.TEST)


def _look_at_names(clips: Sequence[Clip]) -> None:
    """Warns of recordings with names of the challenge, and refuses to learn from what is an anomaly by such a name."""
    alike = [clip for clip in clips if _has_challenge_name(clip.path.with_suffix(".wav"))]
    for clip in alike:
        if clip.split is Split.TRAIN and "anomaly" in clip.path.stem.split("_"):
            raise AsdError(
                f"{clip.path} lies where normal recordings do, and is an anomaly by its name; move it to test/"
            )
    if alike:
        log.warning(
            "%s is named as in the challenge, and does not lie as there (WAV files in <machine>/train and "
            "<machine>/test): its name is not read",
            alike[0].path,
        )
