"""Zip files whose bytes depend on names and contents only, and the archive of up to four systems.

<folder>/<team>_task2_<1-4>/  ─►  <folder>/<team>_task2.zip
                                    task2/<label>/...                      each system as `submit` wrote it
                                    task2/<team>.technical_report.pdf
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asd.types import AsdError

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: the same files give the same bytes

TEAM = re.compile(r"[A-Za-z][A-Za-z-]*_[A-Za-z0-9-]+")


@dataclass(frozen=True)
class Listing:
    """What an archive holds: (name, bytes, lines) of each file, lines only of text, and its size and hash."""

    entries: tuple[tuple[str, int, int | None], ...]
    n_bytes: int
    sha256: str


def write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    """Writes a zip whose bytes depend on names and contents only; the folder must exist."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name], compresslevel=9)


def list_zip(path: Path) -> Listing:
    """What a zip holds, for a person to look over."""
    entries = []
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            text = info.filename.endswith((".csv", ".yaml"))
            lines = archive.read(info).count(b"\n") if text else None
            entries.append((info.filename, info.file_size, lines))
    content = path.read_bytes()
    return Listing(tuple(entries), len(content), hashlib.sha256(content).hexdigest())


def systems_of(folder: Path, team: str) -> list[Path]:
    """Folders of a team's packaged systems, in order.

    Raises:
        AsdError: a team name that labels cannot begin with, or no system there.
    """
    if not TEAM.fullmatch(team):
        raise AsdError(f"team={team!r} is not [LastName]_[Institute], like Nishida_HIT")
    found = [path for path in sorted(folder.glob(f"{team}_task2_[1-4]")) if path.is_dir()]
    if not found:
        raise AsdError(
            f"{folder} holds no system of team={team}; make submit name=RUN label={team}_task2_1 packages one"
        )
    return found


def archive_files(systems: list[Path], team: str, report: Path | None) -> dict[str, bytes]:
    """Name -> content of everything in the archive of some systems, as `submit` wrote them, and of the report.

    Raises:
        AsdError: the report is missing or no PDF.
    """
    files = {
        f"task2/{system.name}/{path.name}": path.read_bytes() if path.is_file() else b""  # then it is a defect
        for system in systems
        for path in sorted(system.iterdir())
    }
    if report is not None:
        try:
            content = report.read_bytes()
        except OSError as error:
            raise AsdError(f"report={report} cannot be read ({error.strerror}); name a PDF file") from error
        if not content.startswith(b"%PDF"):
            raise AsdError(f"report={report} is not a PDF file; export the technical report as PDF")
        files[f"task2/{team}.technical_report.pdf"] = content
    return files
