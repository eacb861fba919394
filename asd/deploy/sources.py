"""Where sound comes from: standard input, a file as if it were live, a sound card, a folder where recordings arrive."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from asd.core.runtime import log
from asd.data.audio import Sound
from asd.deploy.device import Device, open_sound_card
from asd.deploy.folder import Folder, Tell, whole
from asd.deploy.stream import NOTHING, Piece, Samples
from asd.deploy.wave import RAW, Coding, samples_of
from asd.places import mirrored
from asd.types import AsdError


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
    return raw, iter([whole(path, raw.sample_rate_hz, tell)])


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
