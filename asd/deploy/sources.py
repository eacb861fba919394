"""Where sound comes from: standard input, a file as if it were live, a sound card, a folder where recordings arrive."""

from __future__ import annotations

import json
import os
import queue
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from asd.core.files import write_text
from asd.core.runtime import imported, log
from asd.data.audio import Sound, read_sound
from asd.deploy.device import Device, open_sound_card
from asd.deploy.stream import NOTHING, Piece, Samples
from asd.deploy.wave import RAW, Coding, samples_of
from asd.places import find_recordings, is_recording, mirrored
from asd.types import AsdError

_ALL = 64  # channels of a file
_LOOK_S = 1.0  # between two looks whether a folder is there

Tell = Callable[[Sound], None]  # how a recording or a stream is stored


def source_of(
    given: str,
    sample_rate_hz: int,
    *,
    format_: str = "s16le",
    n_channels: int = 1,
    mark: Path | None = None,
    tell: Tell = lambda sound: None,
) -> Iterator[Piece]:
    """All that comes from what `input=` names, as soon as it comes: `-`, a pipe, a folder, a file, or a sound card.

    Raw samples of standard input or a pipe have the format and the channels, a sound card has the channels. The file
    `mark` remembers what of a folder was heard, so that a restart goes on with the rest; `tell` takes how each
    recording of a folder, a file or a stream is stored.
    """
    place = mirrored(given)
    raw = Coding(sample_rate_hz, n_channels, *RAW[format_])
    if given == "-" or place.is_fifo():
        if given == "-" and sys.stdin.isatty():
            raise AsdError("input=- reads standard input, and that is a terminal; pipe a recorder into it")
        name, stream = ("standard input", sys.stdin.buffer) if given == "-" else (given, place.open("rb"))
        coding, blocks = samples_of(stream, name, raw)
        if coding is raw:
            as_what = f"format={format_} channels={n_channels} at {sample_rate_hz} Hz"
            log.info("%s is no WAV file, and is read as raw samples: %s", name, as_what)
        tell(_live(name, sample_rate_hz, n_channels))
        return _stream(name, sample_rate_hz, coding, blocks)
    if place.is_dir():
        return Folder(place, sample_rate_hz, mark, tell).pieces()
    if place.exists():
        return _stream(given, sample_rate_hz, *_of_file(place, raw, tell))
    try:
        device = Device(given, sample_rate_hz, open_sound_card(given, n_channels, sample_rate_hz))
    except OSError as error:
        raise AsdError(str(error)) from error
    tell(_live(given, sample_rate_hz, n_channels))
    return device.pieces()


def _live(name: str | Path, rate_hz: int, n_channels: int) -> Sound:
    """How a stream is stored, of which nothing was read yet."""
    return Sound(
        path=Path(name), content="", sample_rate_hz=rate_hz, file_rate_hz=rate_hz, n_channels=n_channels, n_samples=0
    )


def _of_file(path: Path, raw: Coding, tell: Tell) -> tuple[Coding, Iterator[Samples]]:
    """A WAV file of the model's rate block by block, however long; another file whole, as `predict` reads it.

    So is a WAV file of another coding, or a broken one, of which `predict` has something to say.
    """
    file = path.open("rb")
    if file.peek(4)[:4] == b"RIFF":
        with suppress(AsdError):
            coding, blocks = samples_of(file, str(path), raw)
            if coding.sample_rate_hz == raw.sample_rate_hz:
                tell(_live(path, coding.sample_rate_hz, coding.n_channels))
                return coding, blocks
    file.close()
    return raw, iter([_whole(path, raw.sample_rate_hz, tell)])


def _whole(path: Path, sample_rate_hz: int, tell: Tell) -> Samples:
    """All channels of a recording at this rate."""
    sound = read_sound(path, _ALL, sample_rate_hz=sample_rate_hz)
    tell(sound)
    return sound.waveform(_ALL)


def _stream(name: str, sample_rate_hz: int, coding: Coding, blocks: Iterator[Samples]) -> Iterator[Piece]:
    """The blocks of a stream of the model's rate; one that was cut off ends with a problem."""
    if (rate := coding.sample_rate_hz) != sample_rate_hz:
        raise AsdError(
            f"{name} is sampled at {rate} Hz, and the model was fitted for {sample_rate_hz} Hz; resample it on the "
            f"way, such as by ffmpeg -i FILE -ar {sample_rate_hz} -f wav -"
        )

    def pieces() -> Iterator[Piece]:
        try:
            for block in blocks:
                yield Piece(block, name)
        except AsdError as error:
            yield Piece(NOTHING, name, problem=str(error))

    return pieces()


class Folder:
    """Recordings that are in a folder, and those that arrive in it, each when it is complete.

    A file is complete when it is closed by who writes it, or moved into the folder. The file `mark` has a line for each
    recording that was heard: its name, and size and time of its content. So no setting of a clock hides a recording.
    """

    def __init__(
        self, place: Path, sample_rate_hz: int, mark: Path | None = None, tell: Tell = lambda sound: None
    ) -> None:
        self.place, self.rate, self.mark, self.tell = place, sample_rate_hz, mark, tell

    def pieces(self) -> Iterator[Piece]:
        """Whole recordings; those that cannot be read are named and left out. A folder that has gone is waited for."""
        while True:
            yield from self._while_there()
            yield Piece(NOTHING, self.place.name, True, problem=f"the folder {self.place} has gone; waiting for it")
            while not self.place.is_dir():
                time.sleep(_LOOK_S)
            log.info("the folder %s is back", self.place)

    def _while_there(self) -> Iterator[Piece]:
        arrived: queue.Queue[Path | None] = queue.Queue()
        there = _identity(self.place)
        observer = _watch(self.place, arrived.put)
        try:
            waiting = {path: _stamp(path) for path in self._waiting()}
            for path in waiting:
                yield from self._read(path)
            while _identity(self.place) == there:
                with suppress(queue.Empty):
                    if (arrival := arrived.get(timeout=_LOOK_S)) is None:
                        return
                    if _stamp(arrival) != waiting.get(arrival):  # else its last event comes late
                        yield from self._read(arrival)
        finally:
            observer.stop()
            observer.join()

    def _read(self, path: Path) -> Iterator[Piece]:
        line = _line(path)
        try:
            waveform = _whole(path, self.rate, self.tell)
        except (AsdError, OSError) as error:
            yield Piece(NOTHING, path.name, True, problem=str(error))
        else:
            yield Piece(waveform, path.name, True, is_whole=True)
        if not line or not self.mark:  # it had gone before it was read, or nothing is remembered
            return
        try:
            with self.mark.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            log.error("%s is not remembered as heard (%s); a restart may hear it again", path.name, error)

    def _waiting(self) -> list[Path]:
        """Recordings of the folder that were not heard yet, oldest first; what has gone from it is forgotten."""
        if _has_recordings_below(self.place):
            log.warning("recordings in folders below %s are not heard; name the folder where they arrive", self.place)
        there = {line: path for path in find_recordings(self.place, "*") if (line := _line(path))}
        if there and self.mark and self.mark.exists():  # an empty folder may be a disk that is not mounted yet
            heard = {*self.mark.read_text("utf-8", errors="replace").splitlines(True)} & there.keys()
            with suppress(AsdError):  # a full disk
                write_text(self.mark, "".join(sorted(heard)))
            there = {line: there[line] for line in there.keys() - heard}
        return sorted(there.values(), key=lambda path: (_stamp(path), path.name))


def _has_recordings_below(place: Path) -> bool:
    """Whether recordings lie in folders of a folder, which may come and go meanwhile."""
    below = ((Path(folder), names) for folder, _, names in os.walk(place) if Path(folder) != place)
    return any(is_recording(folder / name) for folder, names in below for name in names)


def _line(path: Path) -> str:
    """A recording as the mark of its folder has it; "" where it has gone."""
    try:
        return json.dumps([path.name, (found := path.stat()).st_size, found.st_mtime_ns]) + "\n"
    except OSError:
        return ""


def _stamp(path: Path) -> int:
    """When a file was written or moved here, which leaves the time of its content as it is; 0 where it has gone."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0


def _identity(place: Path) -> tuple[int, int] | None:
    """Which folder it is; None where there is none."""
    try:
        return (found := place.stat()).st_dev, found.st_ino
    except OSError:
        return None


def _watch(place: Path, take: Callable[[Path | None], object]) -> Any:
    """A thread of watchdog that hands over every recording which is complete in the folder, and None when that goes."""
    imported("watchdog", f"{place} is a folder, and watching it needs watchdog; pip install 'asd[stream]'")
    from watchdog.events import DirDeletedEvent, FileClosedEvent, FileMovedEvent, FileSystemEvent
    from watchdog.events import FileSystemEventHandler as Handling
    from watchdog.observers.inotify import InotifyObserver

    class Handler(Handling):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if isinstance(event, (FileClosedEvent, FileMovedEvent)):
                path = Path(str(event.dest_path or event.src_path))
                if is_recording(path) and path.parent.resolve() == place.resolve():
                    take(place / path.name)
            elif isinstance(event, DirDeletedEvent) and Path(str(event.src_path)) == place:
                take(None)

    observer = InotifyObserver(generate_full_events=True)  # a file moved in from elsewhere is complete, too
    try:
        observer.schedule(Handler(), str(place))
        observer.start()
    except OSError as error:
        raise AsdError(f"{place} cannot be watched ({error}); raise fs.inotify.max_user_watches") from error
    return observer
