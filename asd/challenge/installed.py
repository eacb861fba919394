"""Which archives of a year's data are installed on this disk, which are incomplete, and how one is installed.

    <root>/<machine>/manifest_dev.json          written last: archive, and size and CRC-32 of every file
                    /manifest_eval_train.json   so of each archive that the machine's folder was filled from
                    /.manifest_dev.json         instead of it: the folder is being filled, or that was broken off

A machine is unpacked beside its folder and then renamed into it, so its clips are all there or none. What is
half-unpacked lies in `.unpacking/` beside the machines' folders, where no stage takes it for a machine.
"""

from __future__ import annotations

import shutil
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from asd.challenge.files import FOLDERS
from asd.challenge.ground_truth import read_ground_truth
from asd.challenge.names import parse_name
from asd.challenge.unpack import Member, machine_place, truth_place, unpack
from asd.challenge.years import Archive, Part, Year, revision
from asd.core.files import write_json
from asd.core.runtime import log
from asd.core.storage import read_bytes
from asd.places import find_recordings, is_recording
from asd.types import AsdError, Split

State = Literal["present", "by hand", "missing", "half-unpacked", "damaged", "replaced", "other year"]
"""by hand: clips are there, and no manifest to compare them with. replaced: a later release exists."""

_SPLITS: dict[Part, tuple[Split, ...]] = {
    "dev": (Split.TRAIN, Split.TEST),
    "eval_train": (Split.TRAIN,),
    "eval_test": (Split.TEST,),
}

UNPACKING = ".unpacking"
_MOVING = threading.Lock()  # archives of one machine are unpacked side by side, and moved one by one


class Manifest(BaseModel):
    """What a machine's folder was filled with."""

    archive: str
    record: int
    md5: str | None
    files: dict[str, Member]  # by their names in the machine's folder


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


def inspect(root: Path, machine: str, part: Part, year: Year, *, quick: bool) -> Finding:
    """How it stands with one archive of a machine; if `quick`, by names and sizes only and not by content."""
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
    if wrong := [name for name, known in manifest.files.items() if not _is_whole(folder / name, known, quick)]:
        about = f"{len(wrong)} of {len(manifest.files)} files missing or changed, the first {min(wrong)}"
        return Finding(machine, part, "damaged", n_clips - len(wrong), about)
    return Finding(machine, part, "present", n_clips)


def installed_records(root: Path) -> set[int]:
    """Numbers of the archive records that the machines in a folder were filled from; none where all is by hand."""
    return {known.record for path in root.glob("*/manifest_*.json") if (known := _read(path)) is not None}


def recordings(folder: Path, part: Part) -> list[Path]:
    """Where the recordings of one archive lie, supplemental ones too: by its manifest, or put there by hand."""
    if (manifest := _read(folder / manifest_name(part))) is not None:
        return [folder / name for name in sorted(manifest.files) if is_recording(Path(name))]
    beside = [] if part == "eval_test" else find_recordings(folder / "supplemental")
    return [path for paths in _by_hand(folder, part).values() for path in paths] + beside


def _unrecorded(folder: Path, part: Part, year: Year) -> Finding:
    """Clips without a manifest: unpacked by hand, if their sections are those of the year."""
    machine = folder.name
    halves = _by_hand(folder, part)
    n_clips = sum(map(len, halves.values()))
    if not all(halves.values()):
        return Finding(machine, part, "missing", n_clips, "a half is there" if n_clips else "")
    known = {*year.sections(part)[machine]}
    try:
        sections = {parse_name(path, machine, split).section for split, paths in halves.items() for path in paths}
    except AsdError as error:
        return Finding(machine, part, "other year", n_clips, str(error))
    if sections != known:
        about = f"sections {', '.join(sorted(sections))} where {year.year} has {', '.join(sorted(known))}"
        return Finding(machine, part, "other year", n_clips, about)
    return Finding(machine, part, "by hand", n_clips, "no manifest to compare with")


def _by_hand(folder: Path, part: Part) -> dict[Split, list[Path]]:
    """The clips of each split that an archive fills, sorted."""
    return {
        split: [path for name in FOLDERS[split] for path in find_recordings(folder / name)] for split in _SPLITS[part]
    }


def _is_whole(path: Path, known: Member, quick: bool) -> bool:
    try:
        has_size = path.stat().st_size == known.size_bytes
        return has_size and (quick or zlib.crc32(read_bytes(path)) == known.crc32)
    except (AsdError, OSError):
        return False


def others(folder: Path, part: Part) -> list[Manifest]:
    """Readable manifests of the other archives of a machine."""
    paths = [path for path in sorted(folder.glob("manifest_*.json")) if path.name != manifest_name(part)]
    return [manifest for manifest in map(_read, paths) if manifest is not None]


def _read(path: Path) -> Manifest | None:
    """The manifest; None where it is damaged."""
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def install_machine(path: Path, folder: Path, part: Part, source: Archive, md5: str | None) -> None:
    """Unpack an archive into a machine's folder, where its clips take the place of their like.

    What another archive of the machine has put there stays, with a warning. `AsdError` where the archive is no good or
    the place cannot be written; the folder is as it was.
    """
    with _aside(folder, part) as unpacked:
        members = unpack(path, unpacked, machine_place(folder.name))
        with _MOVING:
            taken = {_top(name) for other in others(folder, part) for name in other.files}
            files = {name: member for name, member in members.items() if _top(name) not in taken}
            if doubled := {_top(name) for name in members} & taken:
                log.warning("%s also holds %s, which stays as it is", path.name, ", ".join(sorted(doubled)))
            manifest = Manifest(archive=path.name, record=source.record, md5=md5, files=files)
            if folder.exists():
                _fill(folder, unpacked, part, manifest)
            else:
                write_json(unpacked / manifest_name(part), manifest.model_dump())
                unpacked.replace(folder)


def install_truth(path: Path, folder: Path, year: Year) -> None:
    """Unpack the ground truth of a year: the published list, or the organisers' evaluator."""
    with _aside(folder, "truth") as unpacked:
        if path.suffix == ".csv":
            unpacked.mkdir()
            shutil.copyfile(path, unpacked / path.name)
        else:
            unpack(path, unpacked, truth_place)
        if strange := read_ground_truth(unpacked, year).keys() - {*year.eval_units()}:
            unit = min(strange, key=str)
            raise AsdError(f"{path} has labels of {unit.machine} section {unit.section}, not of {year.year}")
        if folder.exists():
            shutil.rmtree(folder)
        unpacked.replace(folder)


def _fill(folder: Path, unpacked: Path, part: Part, manifest: Manifest) -> None:
    """Moves what was unpacked into a folder that has something in it; the manifest tells when that is done."""
    filling = folder / f".{manifest_name(part)}"
    write_json(filling, manifest.model_dump())
    (folder / manifest_name(part)).unlink(missing_ok=True)
    for name in sorted({_top(name) for name in manifest.files}):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        (unpacked / name).replace(folder / name)
    filling.replace(folder / manifest_name(part))


def _top(name: str) -> str:
    """The folder or file of a machine's folder that a file belongs to."""
    return name.split("/")[0]


@contextmanager
def _aside(folder: Path, part: str) -> Iterator[Path]:
    """A place to unpack into, on the same disk as the folder and removed afterwards."""
    aside = folder.parent / UNPACKING / f"{folder.name}-{part}"
    try:
        aside.parent.mkdir(parents=True, exist_ok=True)
        yield aside
    except OSError as error:
        raise AsdError(
            f"cannot fill {folder} ({error.strerror or error}); free some space or check its permissions, "
            f"then run the same command again"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
