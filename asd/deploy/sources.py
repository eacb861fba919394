"""Where sound comes from: standard input, a file as if it were live, a sound card, a folder where recordings arrive."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from asd.core.files import read_json, write_json
from asd.core.runtime import imported, log
from asd.data.audio import read_sound
from asd.deploy.stream import NOTHING, Piece, Samples
from asd.deploy.wave import RAW, Coding, samples_of
from asd.places import find_recordings, is_recording
from asd.types import AsdError

_ALL = 64  # channels of a file
_LOOK_S = 1.0  # between two looks whether a folder is there
_QUEUED_S = 30  # of sound that may wait for a slow computer
_SILENT_S = 2.0  # without a block from a device: it has gone
_AGAIN_S = 0.5  # between two tries to open it

Take = Callable[[Samples, bool], None]  # a block (channels, n), and whether samples before it were lost


def source_of(
    given: str, sample_rate_hz: int, *, format_: str = "s16le", n_channels: int = 1, mark: Path | None = None
) -> Iterator[Piece]:
    """All that comes from what `input=` names, as soon as it comes: `-`, a folder, a file, or else a sound card.

    Args:
        format_: of raw samples from standard input.
        n_channels: of raw samples, and of a sound card.
        mark: file in which a folder's last recording is remembered, so that a restart goes on after it.
    """
    place = Path(given)
    raw = Coding(sample_rate_hz, n_channels, *RAW[format_])
    if given == "-":
        if sys.stdin.isatty():
            raise AsdError("input=- reads standard input, and that is a terminal; pipe a recorder into it")
        coding, blocks = samples_of(sys.stdin.buffer, "standard input", raw)
        if coding is raw:
            as_what = f"format={format_} channels={n_channels} at {sample_rate_hz} Hz"
            log.info("standard input is no WAV file, and is read as raw samples: %s", as_what)
        return _stream("standard input", sample_rate_hz, coding, blocks)
    if place.is_dir():
        return Folder(place, sample_rate_hz, mark).pieces()
    if place.exists():
        return _stream(given, sample_rate_hz, *_of_file(place, raw))
    try:
        return Device(given, sample_rate_hz, open_sound_card(given, n_channels, sample_rate_hz)).pieces()
    except OSError as error:
        raise AsdError(str(error)) from error


def _of_file(path: Path, raw: Coding) -> tuple[Coding, Iterator[Samples]]:
    """A WAV file of the model's rate block by block, however long; another file whole, as `predict` reads it.

    So is a WAV file of another coding, or a broken one, of which `predict` has something to say.
    """
    file = path.open("rb")
    if file.peek(4)[:4] == b"RIFF":
        with suppress(AsdError):
            coding, blocks = samples_of(file, str(path), raw)
            if coding.sample_rate_hz == raw.sample_rate_hz:
                return coding, blocks
    file.close()
    return raw, iter([_whole(path, raw.sample_rate_hz)])


def _whole(path: Path, sample_rate_hz: int) -> Samples:
    """All channels of a recording at this rate."""
    return read_sound(path, _ALL, sample_rate_hz=sample_rate_hz).waveform(_ALL)


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

    A file is complete when it is closed by who writes it, or moved into the folder. The file `mark` says when the last
    recording came and which came then.
    """

    def __init__(self, place: Path, sample_rate_hz: int, mark: Path | None = None) -> None:
        self.place, self.rate, self.mark = place, sample_rate_hz, mark
        self._last: tuple[int, list[str]] = 0, []  # several come within one tick of the clock of a file system

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
        stamp = _stamp(path)
        try:
            waveform = _whole(path, self.rate)
        except (AsdError, OSError) as error:
            yield Piece(NOTHING, path.name, True, problem=str(error))
        else:
            yield Piece(waveform, path.name, True, is_whole=True)
        if not stamp:
            return  # it had gone before it was read
        self._last = stamp, [*(self._last[1] if stamp == self._last[0] else []), path.name]
        try:
            if self.mark:
                write_json(self.mark, {"stamp": stamp, "names": self._last[1]})
        except (AsdError, OSError) as error:
            log.error("%s is not remembered as heard (%s); a restart may hear it again", path.name, error)

    def _waiting(self) -> list[Path]:
        """Recordings of the folder that came after the last one that was read, oldest first."""
        stamps = sorted((_stamp(path), path.name, path) for path in find_recordings(self.place, "*"))
        if self.mark and (known := read_json(self.mark, f"remove it, and all of {self.place} is heard")):
            self._last = known["stamp"], known["names"]
        last, done = self._last
        return [path for stamp, name, path in stamps if stamp > last or (stamp == last and name not in done)]


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


class Device:
    """A sound card, which may vanish and return.

    Blocks wait in a queue while a window is scored, so none is lost as long as the computer keeps up on average.

    Args:
        open_: opens it, and has every block taken from a thread of its own; gives what has `active` and `close()`, such
            as a `sounddevice.InputStream`. OSError while it is not there.

    Raises:
        OSError: it is not there at the beginning.
    """

    def __init__(self, name: str, sample_rate_hz: int, open_: Callable[[Take], Any]) -> None:
        self.name, self.rate, self._open = name, sample_rate_hz, open_
        self._queue: queue.Queue[tuple[Samples, bool]] = queue.Queue(round(_QUEUED_S / 0.1))
        self._dropped = False
        self._opened: Any = open_(self._take)  # None while it is away

    def pieces(self) -> Iterator[Piece]:
        """Blocks for ever; where the device was away, a problem as soon as it has gone and a gap when it is back."""
        last_s, problem = time.monotonic(), ""
        while True:
            is_there = self._opened is not None and self._opened.active
            try:
                block, lost = self._queue.get(timeout=_SILENT_S if is_there else _AGAIN_S / 10)
            except queue.Empty:
                if not problem:
                    problem = f"the device {self.name} has gone"
                    yield Piece(NOTHING, self.name, problem=problem)
                self._reopen()
                continue
            now_s = time.monotonic()
            if problem or lost:
                missing = max(0.0, now_s - last_s - block.shape[1] / self.rate)
                yield Piece(block, self.name, True, missing, problem or "the computer was too slow")
            else:
                yield Piece(block, self.name)
            last_s, problem = now_s, ""

    def _take(self, block: Samples, lost: bool) -> None:
        try:
            self._queue.put_nowait((block, lost or self._dropped))
            self._dropped = False
        except queue.Full:
            self._dropped = True

    def _reopen(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        try:
            self._opened = self._open(self._take)
            log.info("the device %s is back", self.name)
        except OSError:
            time.sleep(_AGAIN_S)


def open_sound_card(name: str, n_channels: int, sample_rate_hz: int) -> Callable[[Take], Any]:
    """How a sound card is opened, by its name, a part of it or its number: all there is to know of the library."""
    sounddevice = imported(
        "sounddevice",
        f"input={name} is no file and no folder, and a sound card needs sounddevice and libportaudio2; "
        f"pip install 'asd[stream]'",
    )

    def opened(take: Take) -> Any:
        def callback(block: Any, n: int, when: Any, status: Any) -> None:
            take(np.ascontiguousarray(block.T), bool(status.input_overflow))

        try:
            sounddevice._terminate()  # what is plugged in is looked for again
            sounddevice._initialize()
            stream = sounddevice.InputStream(
                samplerate=sample_rate_hz,
                blocksize=sample_rate_hz // 10,
                device=int(name) if name.isdecimal() else name,
                channels=n_channels,
                dtype="float32",
                callback=callback,
            )
            stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            names = [device["name"] for device in sounddevice.query_devices() if device["max_input_channels"]]
            raise OSError(
                f"input={name} is no file, no folder and no sound card that records at {sample_rate_hz} Hz ({error}); "
                f"sound cards here: {', '.join(names) or 'none'}"
            ) from error
        return stream

    return opened
