"""A folder that many faults spoil in turn: after each, only what has changed is put back."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kept:
    """A file or a folder as it was."""

    mode: int
    content: bytes | None  # None: a folder
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Kept:
        """What lies there now."""
        facts = path.lstat()
        content = None if stat.S_ISDIR(facts.st_mode) else path.read_bytes()
        return cls(facts.st_mode, content, facts.st_mtime_ns)


class Place:
    """What a folder of plain files and folders holds, to be put back as often as needed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        found = sorted(root.rglob("*"))
        self.kept = {path: Kept.of(path) for path in found}
        self.seen = {path: _signature(path) for path in found}

    def put_back(self) -> None:
        """Removes what is new and writes anew what is gone or was touched."""
        for folder, folders, files in os.walk(self.root, topdown=False):
            for path in (Path(folder, name) for name in (*folders, *files)):
                kept = self.kept.get(path)
                if kept is None or stat.S_IFMT(path.lstat().st_mode) != stat.S_IFMT(kept.mode):
                    _remove(path)
        for path, kept in self.kept.items():
            if kept.content is None:
                path.mkdir(exist_ok=True)
                path.chmod(stat.S_IMODE(kept.mode))
            elif _signature(path) != self.seen[path]:
                path.write_bytes(kept.content)
                path.chmod(stat.S_IMODE(kept.mode))
                os.utime(path, ns=(kept.mtime_ns, kept.mtime_ns))
                self.seen[path] = _signature(path)


def _signature(path: Path) -> tuple[int, ...] | None:
    """Changes whenever the file does; None where there is none."""
    if not os.path.lexists(path):
        return None
    facts = path.lstat()
    return facts.st_ino, facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
