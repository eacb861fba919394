"""A downloaded archive to the folder of a machine, or of the ground truth: unpacked aside, then renamed.

What is half-unpacked lies in `.unpacking/` beside the machines' folders, where no stage takes it for a machine.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asd.challenge.ground_truth import read_ground_truth
from asd.challenge.installed import Manifest, manifest_name, others, write_manifest
from asd.challenge.unpack import machine_place, truth_place, unpack
from asd.challenge.years import Archive, Part, Year
from asd.core.runtime import log
from asd.types import AsdError

UNPACKING = ".unpacking"
_MOVING = threading.Lock()  # archives of one machine are unpacked side by side, and moved one by one


def install_machine(path: Path, folder: Path, part: Part, source: Archive, md5: str | None) -> None:
    """Unpack an archive into a machine's folder, where its clips take the place of their like.

    What another archive of the machine has put there stays, with a warning.

    Args:
        path: the archive; its name goes into the manifest.
        folder: of the machine; its name is the machine's.
        part: which archive of the machine it is.
        source: where the archive is published.
        md5: its checksum.

    Raises:
        AsdError: the archive is no good, or the place cannot be written. The folder is as it was.
    """
    with _aside(folder, part) as unpacked:
        members = unpack(path, unpacked, machine_place(folder.name))
        with _MOVING:
            taken = {_top(name) for other in others(folder, part) for name in other.files}
            files = {name: member for name, member in members.items() if _top(name) not in taken}
            if doubled := {_top(name) for name in members} & taken:
                log.warning("%s also holds %s, which stays as it is", path.name, ", ".join(sorted(doubled)))
            manifest = Manifest(path.name, source.record, md5, files)
            if folder.exists():
                _fill(folder, unpacked, part, manifest)
            else:
                write_manifest(unpacked / manifest_name(part), manifest)
                unpacked.replace(folder)


def install_truth(path: Path, folder: Path, year: Year) -> None:
    """Unpack the ground truth of a year: the published list, or the organisers' evaluator.

    Args:
        path: of the archive.
        folder: where the labels go.
        year: of the challenge.

    Raises:
        AsdError: it is not the ground truth of that year, or the place cannot be written.
    """
    with _aside(folder, "truth") as unpacked:
        if path.suffix == ".csv":
            unpacked.mkdir()
            shutil.copyfile(path, unpacked / path.name)
        else:
            unpack(path, unpacked, truth_place)
        strange = read_ground_truth(unpacked, year).keys() - {*year.eval_units()}
        if strange:
            unit = min(strange, key=str)
            raise AsdError(f"{path} has labels of {unit.machine} section {unit.section}, not of {year.year}")
        if folder.exists():
            shutil.rmtree(folder)
        unpacked.replace(folder)


def _fill(folder: Path, unpacked: Path, part: Part, manifest: Manifest) -> None:
    """Moves what was unpacked into a folder that has something in it; the manifest tells when that is done."""
    filling = folder / f".{manifest_name(part)}"
    write_manifest(filling, manifest)
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
