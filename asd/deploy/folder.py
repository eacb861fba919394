"""A folder where recordings arrive: those that are there, then those that come, each when it is complete."""

from __future__ import annotations

import json
import os
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asd.core.files import write_text
from asd.core.runtime import imported, log
from asd.data.audio import Sound, read_sound
from asd.deploy.stream import NOTHING, Piece, Samples
from asd.places import check_listed, is_recording
from asd.types import AsdError

_ALL = 64  # channels of a file
_LOOK_S = 1.0  # between two looks whether a folder is there
_AGAIN_S = 60.0  # between two looks at what is in it
_QUIET_S = 5.0  # without a change, at the beginning: whole
_LEFT_S = 3600.0  # the same of a file that somebody was seen to write: its end went unseen

Tell = Callable[[Sound], None]  # how a recording or a stream is stored


class Folder:
    """Recordings that are in a folder, and those that arrive in it, each when it is complete.

    A file is complete when it is closed by who writes it, or moved into the folder. What nobody has told of, such as
    what was there before, what another computer writes, or what came too fast, is complete when it no longer changes.
    The file `mark` has a line for each recording that was scored and is there still: its name, and size and time of its
    content. So no setting of a clock hides a recording.
    """

    def __init__(
        self, place: Path, sample_rate_hz: int, mark: Path | None = None, tell: Tell = lambda sound: None
    ) -> None:
        self.place, self.rate, self.mark, self.tell = place, sample_rate_hz, mark, tell
        lines = mark.read_text("utf-8", errors="replace").splitlines(True) if mark and mark.exists() else []
        self._scored = dict.fromkeys(lines, 0)  # line of the mark -> `_State.stamp`, 0 where another process scored it
        self._there: set[str] = set()  # lines of the recordings that were there when somebody last looked
        self._is_told = False  # that recordings arrive in folders below

    def pieces(self) -> Iterator[Piece]:
        """Whole recordings; those that cannot be read are named and left out. A folder that has gone is waited for."""
        while True:
            with suppress(OSError):  # it goes while it is looked into for the first time
                yield from self._while_there()
            yield Piece(NOTHING, self.place.name, True, problem=f"the folder {self.place} has gone; waiting for it")
            time.sleep(_LOOK_S)
            while not os.path.isdir(self.place):  # whatever a file server that is away answers
                time.sleep(_LOOK_S)
            log.info("the folder %s is back", self.place)

    def _while_there(self) -> Iterator[Piece]:
        arrived: queue.Queue[Path | None] = queue.Queue()
        begun: set[Path] = set()  # that somebody writes
        there, next_s = _identity(self.place), time.monotonic() + _QUIET_S
        observer = _watch(self.place, begun, arrived.put)
        try:
            self._there = set()
            waiting = self._waiting()
            quiet = {path: stamp for path, stamp in waiting.items() if _age_s(stamp) >= _QUIET_S}
            if n_young := len(waiting) - len(quiet):
                log.info("%d of the recordings may still be written; each is scored when it no longer changes", n_young)
            yield from self._read_all(quiet)
            while _identity(self.place) == there:
                with suppress(queue.Empty):
                    if (arrival := arrived.get(timeout=_LOOK_S)) is None:
                        return
                    if not (state := _State.of(arrival)) or self._scored.get(state.line) != state.stamp:
                        yield from self._read(arrival)  # else its last event comes late
                if time.monotonic() >= next_s:
                    before, waiting = waiting, self._waiting_again()
                    quiet = dict(waiting.items() & before.items())
                    yield from self._read_all(
                        {path: stamp for path, stamp in quiet.items() if path not in begun or _age_s(stamp) >= _LEFT_S}
                    )
                    next_s = time.monotonic() + _AGAIN_S
        finally:
            observer.stop()
            observer.join()

    def _waiting_again(self) -> dict[Path, int]:
        try:
            return self._waiting()
        except (AsdError, OSError) as error:
            log.error("%s cannot be looked into (%s); it is tried again", self.place, error)
            return {}

    def _read_all(self, found: Mapping[Path, int]) -> Iterator[Piece]:
        for path in sorted(found, key=lambda path: (found[path], path.name)):  # oldest first
            yield from self._read(path)

    def _read(self, path: Path) -> Iterator[Piece]:
        state = _State.of(path)
        try:
            waveform = whole(path, self.rate, self.tell)
        except (AsdError, OSError) as error:
            yield Piece(NOTHING, path.name, True, problem=str(error))
        else:
            yield Piece(waveform, path.name, True, is_whole=True)
        if not state:  # it had gone before it was read
            return
        is_known = state.line in self._scored
        self._scored[state.line] = state.stamp
        self._there.add(state.line)
        if not self.mark or is_known:
            return
        try:
            with self.mark.open("a", encoding="utf-8") as file:
                file.write(state.line)
        except OSError as error:
            log.error("%s cannot be noted as scored (%s); a restart may score it again", path.name, error)

    def _waiting(self) -> dict[Path, int]:
        """Recordings that were not scored yet, and since when they are as they are; what has gone is forgotten."""
        check_listed(self.place)
        if not self._is_told and _has_recordings_below(self.place):
            log.warning("recordings in folders below %s are not scored; name the folder where they arrive", self.place)
            self._is_told = True
        with os.scandir(self.place) as entries:
            states = [(entry.path, _State.of(entry)) for entry in entries if is_recording(Path(entry.name))]
        found = [(Path(path), state) for path, state in states if state]
        there = {state.line for _, state in found}
        # Of an empty folder nothing is forgotten that was not seen there: it may be a disk that is not mounted yet.
        gone = (self._there if self._there or not there else self._scored.keys()) - there
        self._there = there
        if gone & self._scored.keys():
            self._scored = {line: stamp for line, stamp in self._scored.items() if line not in gone}
            if self.mark:
                with suppress(AsdError):  # a full disk
                    write_text(self.mark, "".join(sorted(self._scored)))
        return {path: state.stamp for path, state in found if state.line not in self._scored}


@dataclass(frozen=True, slots=True)
class _State:
    """How a recording lies in a folder."""

    line: str  # of the mark
    stamp: int  # when it was written or moved here, in nanoseconds; that leaves the time of its content as it is

    @classmethod
    def of(cls, path: Path | os.DirEntry[str]) -> _State | None:
        """None where it has gone."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(json.dumps([path.name, found.st_size, found.st_mtime_ns]) + "\n", found.st_ctime_ns)


def _has_recordings_below(place: Path) -> bool:
    """Whether recordings lie in folders of a folder, which may come and go meanwhile."""
    below = ((Path(folder), names) for folder, _, names in os.walk(place) if Path(folder) != place)
    return any(is_recording(folder / name) for folder, names in below for name in names)


def _identity(place: Path) -> tuple[int, int] | None:
    """Which folder it is; None where there is none."""
    try:
        return (found := place.stat()).st_dev, found.st_ino
    except OSError:
        return None


def _age_s(stamp: int) -> float:
    return time.time() - stamp / 1e9


def _watch(place: Path, begun: set[Path], take: Callable[[Path | None], object]) -> Any:
    """A thread of watchdog that hands over every recording which is complete in the folder, and None when that goes.

    `begun` holds those that are written meanwhile.
    """
    imported("watchdog", f"{place} is a folder, and watching it needs watchdog; pip install 'asd[stream]'")
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers.inotify import InotifyObserver

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            path = Path(str(event.dest_path or event.src_path))
            match event.event_type, event.is_directory:
                case "closed" | "moved", False if is_recording(path) and path.parent.resolve() == place.resolve():
                    begun.discard(place / path.name)
                    take(place / path.name)
                case "created" | "modified", False:
                    begun.add(place / path.name)
                case "deleted", True if path == place:
                    take(None)

    observer = InotifyObserver(generate_full_events=True)  # a file moved in from elsewhere is complete, too
    try:
        observer.schedule(Handler(), str(place))
        observer.start()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise AsdError(f"{place} cannot be watched ({error}); raise fs.inotify.max_user_watches") from error
    return observer


def whole(path: Path, sample_rate_hz: int, tell: Tell) -> Samples:
    """All channels of a recording at this rate."""
    sound = read_sound(path, _ALL, sample_rate_hz=sample_rate_hz)
    tell(sound)
    return sound.waveform(_ALL)
