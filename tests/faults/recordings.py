"""Recordings that are broken, or that only look so."""

from __future__ import annotations

import os
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from tests.faults.fault import Done, Expected, Fault, Refused, Same, Warned

RATE_HZ = 16000


def clip(split: str) -> Path:
    """The clip that is spoilt: the last normal one of the machine."""
    return sorted(Path("data/fan", split).glob("*normal*.wav"))[-1]


def samples_of(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32")[0]


def rewritten(
    change: Callable[[np.ndarray], np.ndarray], rate_hz: int = RATE_HZ, subtype: str = "FLOAT", **how: str
) -> Callable[[Path], object]:
    """Samples changed and written anew in another form."""

    def damage(path: Path) -> None:
        samples = change(samples_of(path))
        soundfile.write(
            path, samples, rate_hz, subtype=subtype, format=how.get("form", "WAV"), endian=how.get("endian")
        )

    return damage


def with_a(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.where(np.arange(len(x)) == 77, np.float32(value), x)


def bytes_changed(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def data_size(size: int) -> Callable[[Path], object]:
    """The header's promise of how many bytes of samples follow."""

    def change(content: bytes) -> bytes:
        at = content.index(b"data") + 4
        return content[:at] + struct.pack("<I", size) + content[at + 4 :]

    return bytes_changed(change)


def chunk_before_data(name: bytes, body: bytes) -> Callable[[Path], object]:
    def change(content: bytes) -> bytes:
        at = content.index(b"data")
        more = name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
        size = struct.pack("<I", len(content) + len(more) - 8)
        return content[:4] + size + content[8:at] + more + content[at:]

    return bytes_changed(change)


def replaced_by(make: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: (path.unlink(), make(path))


def a_socket(path: Path) -> None:
    """A socket's name must be short, so it is bound from beside."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        socket.socket(socket.AF_UNIX).bind(path.name[-90:])
        Path(path.name[-90:]).rename(path.name)
    finally:
        os.chdir(here)


# What cannot be used, and the sentence it gets.
UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "is empty": (bytes_changed(lambda b: b""), "not a readable WAV"),
    "is cut in its header": (bytes_changed(lambda b: b[:20]), "not a readable WAV"),
    "is cut in its samples": (bytes_changed(lambda b: b[:5000]), "truncated"),
    "is cut after its header": (bytes_changed(lambda b: b[:44]), "truncated|no samples"),
    "promises a tenth of its samples": (data_size(3200), "was not finished"),
    "holds no samples": (rewritten(lambda x: x[:0]), "no samples"),
    "holds one sample": (rewritten(lambda x: x[:1]), "has 1 sample"),
    "is text": (bytes_changed(lambda b: b"ID3 and so on" * 99), "not a readable WAV"),
    "is zeros on the disk": (bytes_changed(lambda b: bytes(len(b))), "not a readable WAV"),
    "is random bytes": (
        bytes_changed(lambda b: np.random.default_rng(0).bytes(len(b))), "not a readable WAV",
    ),
    "has two bytes swapped in its header": (
        bytes_changed(lambda b: b[:12] + b"fm t" + b[16:]), "not a readable WAV",
    ),
    "is a folder": (replaced_by(Path.mkdir), "not a readable WAV|is a folder"),
    "is a link to nowhere": (replaced_by(lambda p: p.symlink_to("gone.wav")), "does not exist"),
    "is a link to itself": (replaced_by(lambda p: p.symlink_to(p.name)), "loop|symbolic links|does not exist"),
    "is a pipe": (replaced_by(os.mkfifo), "not a readable WAV|is no file|not a file"),
    "is a socket": (replaced_by(a_socket), "not a readable WAV|is no file|not a file"),
    "is a device": (replaced_by(lambda p: p.symlink_to("/dev/zero")), "not a readable WAV|is no file|not a file"),
    "has another sample rate": (rewritten(lambda x: x[::2], 8000), "8000 Hz, not 16000"),
    "has a sample rate of 1 Hz": (rewritten(lambda x: x, 1), "is sampled at 1 Hz by its header; write the true rate"),
    "holds a NaN": (rewritten(with_a(np.nan)), "NaN or infinite"),
    "holds infinity": (rewritten(with_a(-np.inf)), "NaN or infinite"),
    "holds an absurd sample": (rewritten(with_a(1e30)), r"a sample of 1e\+30"),
}  # fmt: skip

# What only looks wrong.
USABLE: dict[str, tuple[Callable[[Path], object], Expected]] = {
    "is written as float": (rewritten(lambda x: x), Same()),
    "is written as double": (rewritten(lambda x: x, subtype="DOUBLE"), Same()),
    "is written in 24 bits": (rewritten(lambda x: x, subtype="PCM_24"), Same()),
    "is written as FLAC": (rewritten(lambda x: x, subtype="PCM_16", form="FLAC"), Same()),
    "is big-endian": (rewritten(lambda x: x, subtype="PCM_16", endian="BIG"), Same()),
    "has two equal channels": (rewritten(lambda x: np.stack([x, x], 1)), Done()),
    "is written in 8 bits": (rewritten(lambda x: x, subtype="PCM_U8"), Done()),
    "is half as long as the others": (rewritten(lambda x: x[: len(x) // 2]), Done()),
    "has a chunk of text before its samples": (chunk_before_data(b"LIST", b"INFOISFT" + b"x" * 33), Same()),
    "has bytes after its samples": (bytes_changed(lambda b: b + b"garbage"), Same()),
    "promises no samples but has them": (data_size(0), Same()),
    "promises endless samples": (data_size(0xFFFFFFFF), Same()),
    "is a link to the recording": (
        lambda p: (shutil.move(p, "elsewhere.wav"), p.symlink_to(Path("elsewhere.wav").resolve())),
        Same(),
    ),
    "was written in the future": (lambda p: os.utime(p, (4e9, 4e9)), Same()),
    "was written in 1970": (lambda p: os.utime(p, (0, 0)), Same()),
}


def _table() -> list[Fault]:
    faults = []
    for split, stages in (("train", ["train"]), ("test", ["train", "score"])):
        for name, (damage, saying) in UNUSABLE.items():
            expected: dict[str, Expected] = dict.fromkeys(stages, Refused(saying))
            faults.append(Fault(f"a {split} clip {name}", lambda d=damage, s=split: d(clip(s)), expected))
        for name, (damage, outcome) in USABLE.items():
            stage = stages[-1]
            faults.append(Fault(f"a {split} clip {name}", lambda d=damage, s=split: d(clip(s)), {stage: outcome}))
    return faults


def constant(level: float) -> Callable[[Path], object]:
    return rewritten(lambda x: np.full_like(x, level))


FAULTS = [
    *_table(),
    Fault("a train clip is silent", lambda: constant(0)(clip("train")), {"train": Refused("silent")}),
    Fault("a test clip is silent", lambda: constant(0)(clip("test")), {"train": Warned("silent"), "score": Warned("silent")}),
    Fault("a train clip is constant", lambda: constant(0.3)(clip("train")), {"train": Refused(r"silent \(all samples are 0\.3\)")}),
    Fault("a test clip is constant", lambda: constant(0.3)(clip("test")), {"score": Warned(r"silent \(all samples are 0\.3\)")}),
]  # fmt: skip
