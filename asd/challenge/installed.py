"""Which archives of a year's data are installed on this disk, and which are incomplete.

    <root>/<machine>/manifest_dev.json          written last: archive, and size and CRC-32 of every file
                    /manifest_eval_train.json   so of each archive that the machine's folder was filled from
                    /.manifest_dev.json         instead of it: the folder is being filled, or that was broken off

A machine is unpacked beside its folder and then renamed into it, so its clips are all there or none.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from asd.challenge.files import parse_name
from asd.challenge.years import Part, Year, revision
from asd.core.files import atomic
from asd.types import AsdError, Split, find_recordings, is_recording

State = Literal["present", "by hand", "missing", "half-unpacked", "damaged", "replaced", "other year"]
"""by hand: clips are there, and no manifest to compare them with. replaced: a later release exists."""

_TRAIN, _TEST = ("train",), ("test", "source_test", "target_test")
_NAMES: dict[Part, tuple[tuple[str, ...], ...]] = {
    "dev": (_TRAIN, _TEST),
    "eval_train": (_TRAIN,),
    "eval_test": (_TEST,),
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a machine's folder was filled with."""

    archive: str
    record: int
    md5: str | None
    files: Mapping[str, tuple[int, int]]  # name in the machine's folder -> bytes, CRC-32


@dataclass(frozen=True, slots=True)
class Finding:
    """How it stands with one archive of a machine."""

    machine: str
    part: str
    state: State
    n_clips: int
    about: str = ""  # what is wrong
    unusable: tuple[str, ...] = ()  # a sentence for each recording that is none of the year

    @property
    def is_good(self) -> bool:
        """Whether the clips can be worked with."""
        return self.state in ("present", "by hand")


def manifest_name(part: Part) -> str:
    """Name of the manifest in a machine's folder."""
    return f"manifest_{part}.json"


def published_part(root: Path, year: Year) -> Literal["dev", "eval"] | None:
    """Which of the year's sets of machines lies in a folder, by its place or by a manifest; None: data of one's own.

    Args:
        root: folder of machines.
        year: of the challenge.
    """
    if root.resolve() == year.dev_root.resolve() or any(root.glob("*/manifest_dev.json")):
        return "dev"
    if root.resolve() == year.eval_root.resolve() or any(root.glob("*/manifest_eval_*.json")):
        return "eval"
    return None


def inspect(root: Path, machine: str, part: Part, year: Year, *, quick: bool) -> Finding:
    """How it stands with one archive of a machine.

    Args:
        root: folder of the machines.
        machine: its name.
        part: which of its archives.
        year: the catalogue's entry.
        quick: compare names and sizes only, not the content.
    """
    folder = root / machine
    path = folder / manifest_name(part)
    if (folder / f".{manifest_name(part)}").exists():
        return Finding(machine, part, "half-unpacked", 0, "filling the folder was broken off")
    if not path.exists():
        return _unrecorded(folder, part, year)
    manifest = _read(path)
    if manifest is None:
        return Finding(machine, part, "damaged", 0, f"{path.name} is not readable")
    n_clips = sum(is_recording(Path(name)) for name in manifest.files)
    wanted = year.archive(part, machine).file
    if revision(manifest.archive)[1] < revision(wanted)[1]:
        return Finding(machine, part, "replaced", n_clips, f"{manifest.archive} was replaced by {wanted}")
    wrong = [name for name, known in manifest.files.items() if not _is_whole(folder / name, known, quick)]
    if wrong:
        about = f"{len(wrong)} of {len(manifest.files)} files missing or changed, the first {min(wrong)}"
        return Finding(machine, part, "damaged", n_clips - len(wrong), about)
    return Finding(machine, part, "present", n_clips)


def recordings(folder: Path, part: Part) -> list[Path]:
    """Where the recordings of one archive lie, supplemental ones too: by its manifest, or put there by hand.

    Args:
        folder: of a machine.
        part: of the year's data.
    """
    manifest = _read(folder / manifest_name(part))
    if manifest is not None:
        return [folder / name for name in sorted(manifest.files) if is_recording(Path(name))]
    beside = [] if part == "eval_test" else find_recordings(folder / "supplemental")
    return [path for half in _by_hand(folder, part) for path in half] + beside


def _unrecorded(folder: Path, part: Part, year: Year) -> Finding:
    """Clips without a manifest: unpacked by hand, if their sections are those of the year."""
    machine = folder.name
    halves = _by_hand(folder, part)
    clips = [path for half in halves for path in half]
    if not all(halves):
        return Finding(machine, part, "missing", len(clips), "a half is there" if clips else "")
    known = {*year.sections(part)[machine]}
    try:
        sections = {parse_name(path, machine, _split(path)).section for path in clips}
    except AsdError as error:
        return Finding(machine, part, "other year", len(clips), str(error))
    if sections != known:
        about = f"sections {', '.join(sorted(sections))} where {year.year} has {', '.join(sorted(known))}"
        return Finding(machine, part, "other year", len(clips), about)
    return Finding(machine, part, "by hand", len(clips), "no manifest to compare with")


def _by_hand(folder: Path, part: Part) -> list[list[Path]]:
    """The clips of each folder that an archive fills, sorted: train, test or both."""
    return [[path for name in names for path in find_recordings(folder / name)] for names in _NAMES[part]]


def _split(path: Path) -> Split:
    return Split.TRAIN if path.parent.name == "train" else Split.TEST


def _is_whole(path: Path, known: tuple[int, int], quick: bool) -> bool:
    size_bytes, crc32 = known
    try:
        if path.stat().st_size != size_bytes:
            return False
        return quick or zlib.crc32(path.read_bytes()) == crc32
    except OSError:
        return False


def others(folder: Path, part: Part) -> list[Manifest]:
    """Readable manifests of the other archives of a machine.

    Args:
        folder: of a machine.
        part: of the year's data, whose own manifest is left out.
    """
    paths = [path for path in sorted(folder.glob("manifest_*.json")) if path.name != manifest_name(part)]
    return [manifest for manifest in map(_read, paths) if manifest is not None]


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest, whole or not at all.

    Args:
        path: of the manifest.
        manifest: what was unpacked.

    Raises:
        AsdError: the place cannot be written.
    """
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(asdict(manifest), indent=1) + "\n")


def _read(path: Path) -> Manifest | None:
    """The manifest; None where it is damaged."""
    try:
        content = json.loads(path.read_text())
        files = {name: (int(size), int(crc)) for name, (size, crc) in content["files"].items()}
        return Manifest(content["archive"], content["record"], content["md5"], files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
