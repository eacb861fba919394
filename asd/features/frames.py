"""Feature frames of all clips of a machine in one memory-mapped file, computed once.

Levels are kept as 16-bit fixed point in steps of 1/200 dB, finer than any recording's own noise and a
twentieth of the official baseline's float64 windows; or as float32 where the digits of another program are to be
matched. The folder's name is a hash of everything that changes the numbers, so a stale file is never
read; nothing is pickled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from asd.core.files import alone, atomic
from asd.core.runtime import fingerprint, log, progress
from asd.data.recordings import Recordings
from asd.features.logmel import LogMel
from asd.types import AsdError

_FORMAT = 2  # raise when the stored numbers change meaning
STEPS_PER_DB = 200  # int16 then spans -163.8 to 163.8 dB, error at most 0.0025 dB


@dataclass(frozen=True)
class Frames:
    """Feature frames of many clips, back to back.

    Attributes:
        levels: (total frames, bands), memory-mapped: int16 in steps of 1/200 dB, or float32 in dB.
        lengths: (clips,) number of frames of each clip, in the order of the recordings.
    """

    levels: npt.NDArray[np.int16] | npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64]

    def to(self, device: torch.device) -> torch.Tensor:
        """All frames in dB on the device: (total frames, bands) float32."""
        values = torch.from_numpy(np.array(self.levels)).to(device)
        return values if values.dtype == torch.float32 else values.float().div_(STEPS_PER_DB)


def log_mel_frames(
    recordings: Recordings, log_mel: dict[str, int], cache: Path | None, device: torch.device, *, exact: bool = False
) -> Frames:
    """Log-mel frames of the recordings, read from `cache` or computed there.

    Args:
        log_mel: keyword arguments of `features.LogMel` without the sample rate.
        cache: a folder; None: they are kept nowhere.
        exact: float32 instead of 16-bit steps.
    """
    if cache is None or not recordings.is_on_disk:
        return _computed(recordings, log_mel, device, exact)
    folder = cache / _key(recordings, log_mel, exact)
    if (frames := _read(folder)) is None:
        with alone(folder):
            if (frames := _read(folder)) is None:  # else another process has made it meanwhile
                with atomic(folder) as temporary:
                    temporary.mkdir()
                    _computed(recordings, log_mel, device, exact, temporary)
                frames = _read(folder)
    if frames is None:
        raise AsdError(f"{folder} cannot be read again after it was written; check the disk")
    return frames


def _read(folder: Path) -> Frames | None:
    """Frames of a folder; None where there are none, or what is there is damaged."""
    if not folder.is_dir():
        return None
    try:
        lengths = np.load(folder / "lengths.npy", allow_pickle=False)
        levels = np.load(folder / "levels.npy", mmap_mode="r", allow_pickle=False)
        if lengths.sum() != len(levels):
            raise ValueError(f"{len(levels)} frames in place of {lengths.sum()}")
    except (OSError, ValueError, EOFError) as error:
        log.warning("%s is damaged (%s): its features are computed once more", folder, error)
        return None
    return Frames(levels, lengths)


class Windows:
    """All runs of `n_frames` consecutive frames within a clip, which has at least as many; no frame is copied."""

    def __init__(self, frames: Frames, n_frames: int, device: torch.device) -> None:
        values = frames.to(device)
        bands = values.shape[1]
        # A window is n_frames * bands consecutive numbers: overlapping rows of one buffer.
        self.rows = values.as_strided((len(values) - n_frames + 1, n_frames * bands), (bands, 1))
        per_clip = torch.from_numpy(frames.lengths - n_frames + 1)
        first_frame = torch.from_numpy(np.cumsum(frames.lengths) - frames.lengths)
        first_window = per_clip.cumsum(0) - per_clip
        offset = (first_frame - first_window).repeat_interleave(per_clip)
        self.lengths = per_clip.to(device)  # (clips,) windows of each clip
        self.row_of = (torch.arange(len(offset)) + offset).to(device)  # (windows,)
        self.clip_of = torch.arange(len(per_clip)).repeat_interleave(per_clip).to(device)  # (windows,)

    def __len__(self) -> int:
        return len(self.row_of)

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        """Windows (n, n_frames * bands) of indices (n,)."""
        return self.rows[self.row_of[indices]]

    def chunks(self, n_windows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Whole clips in order, about `n_windows` at a time: (windows, lengths of the clips)."""
        ends = self.lengths.cumsum(0).cpu()
        clip = 0
        while clip < len(ends):
            start = int(ends[clip - 1]) if clip else 0
            after = max(clip + 1, int(torch.searchsorted(ends, start + n_windows, right=True)))
            yield self.rows[self.row_of[start : int(ends[after - 1])]], self.lengths[clip:after]
            clip = after


def _computed(
    recordings: Recordings, settings: dict[str, int], device: torch.device, exact: bool, folder: Path | None = None
) -> Frames:
    """Frames in files of a folder; without one, as of recordings that are in no file, in memory."""
    transform = LogMel(recordings.sample_rate_hz, **settings)
    lengths = np.array([transform.n_frames(int(n)) for n in recordings.lengths_samples], np.int64)
    shape, dtype = (int(lengths.sum()), transform.mel.n_mels), np.float32 if exact else np.int16
    if folder is None:
        levels = np.empty(shape, dtype)
    else:
        path = folder / "levels.npy"
        levels = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        with path.open("r+b") as file:  # a disk that fills up under a memory map would kill the process
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        np.save(folder / "lengths.npy", lengths)
    _fill(levels, recordings, transform.to(device), lengths, device)
    if isinstance(levels, np.memmap):
        levels.flush()
    return Frames(levels, lengths)


def _fill(
    levels: npt.NDArray[np.int16] | npt.NDArray[np.float32],
    recordings: Recordings,
    transform: LogMel,
    lengths: npt.NDArray[np.int64],
    device: torch.device,
) -> None:
    """Computes the frames of all clips into `levels` (total frames, bands)."""
    ends = np.cumsum(lengths)
    clip = recordings.clips[0]
    for indices, waveforms in progress(recordings.batches(device), f"features {clip.machine} {clip.split}"):
        db = transform(waveforms).transpose(1, 2)
        is_exact = levels.dtype == np.float32
        _check_range(db, recordings, indices, is_exact)
        if not is_exact:
            db = db.mul(STEPS_PER_DB).round_().to(torch.int16)
        for values, index in zip(db.cpu().numpy(), indices, strict=True):
            levels[ends[index] - lengths[index] : ends[index]] = values


def _check_range(db: torch.Tensor, recordings: Recordings, indices: npt.NDArray[np.int64], exact: bool) -> None:
    """Refuses levels (clips, frames, mels) that are not finite, or that 16-bit steps would cut off."""
    most_db = torch.finfo(torch.float32).max if exact else 32767 / STEPS_PER_DB
    fits = (db.abs() <= most_db).flatten(1).all(1).cpu().numpy()  # false for NaN
    if not fits.all():
        path = recordings.clips[indices[np.flatnonzero(~fits)[0]]].path
        raise AsdError(f"{path} has levels beyond {most_db:.4g} dB or none at all (NaN); scale or remove the recording")


def _key(recordings: Recordings, settings: dict[str, int], exact: bool) -> str:
    """Readable machine name, and a hash of recordings and settings."""
    first = recordings.clips[0]
    digest = fingerprint(_FORMAT, settings, exact, recordings.key())
    return f"{first.machine}-{first.split}-logmel-{digest}"
