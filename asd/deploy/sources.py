"""Where sound comes from: standard input, a file as if it were live, a folder where recordings arrive, a sound card.

A sound card may vanish and return.
"""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from asd.core.runtime import imported, log
from asd.data.audio import Sound
from asd.deploy.folder import Folder, Tell, whole
from asd.deploy.stream import NOTHING, Piece, Samples
from asd.deploy.wave import RAW, WAVE, Coding, Resampler, at_rate, samples_of
from asd.places import mirrored
from asd.types import AsdError

_QUEUED_S = 30  # of sound that may wait for a slow computer
_SILENT_S = 2.0  # without a block from a device: it has gone
_AGAIN_S = 0.5  # between two tries to open it

Take = Callable[[Samples, bool], None]  # a block (channels, n), and whether samples before it were lost


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
    `mark` remembers what of a folder was scored, so that a restart goes on with the rest; `tell` takes how each
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
        tell(_live(name, sample_rate_hz, coding))
        return _stream(name, sample_rate_hz, coding, blocks)
    if place.is_dir():
        return Folder(place, sample_rate_hz, mark, tell).pieces()
    if place.exists():
        return _stream(given, sample_rate_hz, *_of_file(place, raw, tell))
    try:
        return Device(given, sample_rate_hz, open_sound_card(given, n_channels, sample_rate_hz, tell)).pieces()
    except OSError as error:
        raise AsdError(str(error)) from error


def _live(name: str | Path, sample_rate_hz: int, coding: Coding) -> Sound:
    """How a stream is stored, of which nothing was read yet."""
    return Sound(
        path=Path(name),
        content="",
        sample_rate_hz=sample_rate_hz,
        file_rate_hz=coding.sample_rate_hz,
        n_channels=coding.n_channels,
        n_samples=0,
    )


def _of_file(path: Path, raw: Coding, tell: Tell) -> tuple[Coding, Iterator[Samples]]:
    """A WAV file block by block, however long; another file whole, as `predict` reads it.

    So is a WAV file of another coding, or a broken one, of which `predict` has something to say.
    """
    file = path.open("rb")
    if file.peek(4)[:4] in WAVE:
        with suppress(AsdError):
            coding, blocks = samples_of(file, str(path), raw)
            tell(_live(path, raw.sample_rate_hz, coding))
            return coding, blocks
    file.close()
    return raw, iter([whole(path, raw.sample_rate_hz, tell)])


def _stream(name: str, sample_rate_hz: int, coding: Coding, blocks: Iterator[Samples]) -> Iterator[Piece]:
    """The blocks of a stream at the model's rate; one that was cut off ends with a problem."""
    try:
        for block in at_rate(blocks, coding, sample_rate_hz):
            yield Piece(block, name)
    except AsdError as error:
        yield Piece(NOTHING, name, problem=str(error))


class Device:
    """A sound card, which may vanish and return; `OSError` where it is not there at the beginning.

    Blocks wait in a queue while a window is scored, so none is lost as long as the computer keeps up on average.
    `open_` opens it, and has every block taken from a thread of its own; it gives what has `active` and `close()`, such
    as a `sounddevice.InputStream`, and raises `OSError` while it is not there.
    """

    def __init__(self, name: str, sample_rate_hz: int, open_: Callable[[Take], Any]) -> None:
        self.name, self.rate, self._open = name, sample_rate_hz, open_
        self._queue: queue.Queue[tuple[float, Samples, bool]] = queue.Queue(round(_QUEUED_S / 0.1))
        self._dropped = False
        self._opened: Any = open_(self._take)  # None while it is away

    def pieces(self) -> Iterator[Piece]:
        """Blocks for ever; where the device was away, a problem as soon as it has gone and a gap when it is back."""
        last_s, problem = time.monotonic(), ""
        while True:
            is_there = self._opened is not None and self._opened.active
            try:
                taken_s, block, lost = self._queue.get(timeout=_SILENT_S if is_there else _AGAIN_S / 10)
            except queue.Empty:
                if not problem:
                    problem = f"the device {self.name} has gone"
                    yield Piece(NOTHING, self.name, problem=problem)
                self._reopen()
                continue
            if problem or lost:
                missing = max(0.0, taken_s - last_s - block.shape[1] / self.rate)
                yield Piece(block, self.name, True, missing, problem or "the computer was too slow")
            else:
                yield Piece(block, self.name)
            last_s, problem = taken_s, ""

    def _take(self, block: Samples, lost: bool) -> None:
        try:  # when it came, as it may wait for long
            self._queue.put_nowait((time.monotonic(), block, lost or self._dropped))
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


def open_sound_card(name: str, n_channels: int, sample_rate_hz: int, tell: Tell) -> Callable[[Take], Any]:
    """How a sound card is opened, by its name, a part of it or its number: all there is to know of the library."""
    sounddevice = imported(
        "sounddevice",
        f"input={name} is no file and no folder, and a sound card needs sounddevice and libportaudio2; "
        f"pip install 'asd[stream]'",
    )

    device = int(name) if name.isdecimal() else name

    def stream_of(take: Take, rate_hz: int) -> Any:
        resampler = Resampler(n_channels, rate_hz, sample_rate_hz)

        def callback(block: Any, n: int, when: Any, status: Any) -> None:
            take(resampler(block.T), bool(status.input_overflow))

        stream = sounddevice.InputStream(
            samplerate=rate_hz,
            blocksize=rate_hz // 10,
            device=device,
            channels=n_channels,
            dtype="float32",
            callback=callback,
        )
        tell(_live(name, sample_rate_hz, Coding(rate_hz, n_channels, *RAW["f32le"])))
        return stream

    def opened(take: Take) -> Any:
        try:
            sounddevice._terminate()  # what is plugged in is looked for again
            sounddevice._initialize()
            try:
                stream = stream_of(take, sample_rate_hz)
            except sounddevice.PortAudioError:  # many cards have one rate
                own_hz = round(sounddevice.query_devices(device, "input")["default_samplerate"])
                stream = stream_of(take, own_hz)
                log.info("%s records at %d Hz, which is resampled to %d Hz", name, own_hz, sample_rate_hz)
            stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            names = [card["name"] for card in sounddevice.query_devices() if card["max_input_channels"]]
            raise OSError(
                f"input={name} is no file, no folder and no sound card that records channels={n_channels} ({error}); "
                f"sound cards here: {', '.join(names) or 'none'}"
            ) from error
        return stream

    return opened
