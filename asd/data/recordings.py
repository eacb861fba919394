"""The clips of a machine as a sequence of waveforms: each file read once, and checked before long work.

Args:
    clips: what is recorded; order is kept.
    sample_rate_hz: of all of them.
    front_end: from the microphones of a file to one waveform.
    indices: of clips.
    device: where waveforms go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from asd.core.runtime import fingerprint, log_unnamed, on_threads
from asd.data.audio import Sound, read_sound
from asd.data.codecs import Waveform
from asd.types import NEAR, AsdError, Clip, FrontEnd, Split, in_utf8, named

if TYPE_CHECKING:
    import torch

Refused = tuple[Clip, AsdError]  # a clip that cannot be used, and why
_SHORTER = 0.05  # share of the training clips that may be shorter than a window
_SHORTEST = 0.25  # of the median length: windows are no shorter, whatever a few clips are


@dataclass(frozen=True)
class Recordings:
    """The clips of a machine as a sequence of waveforms."""

    clips: Sequence[Clip]
    sounds: Sequence[Sound]  # what was read of each, see `check`
    sample_rate_hz: int = 16000
    front_end: FrontEnd = NEAR
    # What was computed of these clips and may be asked for again, by name: a row for each.
    computed: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def lengths_samples(self) -> npt.NDArray[np.int64]:
        """Length of each clip, (clips,)."""
        return np.array([sound.n_samples for sound in self.sounds], np.int64)

    @property
    def durations_s(self) -> npt.NDArray[np.float64]:
        """Length of each clip in seconds, (clips,)."""
        return self.lengths_samples / self.sample_rate_hz

    @property
    def usual_window(self) -> int:
        """Samples of the windows into which clips are cut where these are the training clips."""
        lengths = self.lengths_samples
        return int(max(np.quantile(lengths, _SHORTER, method="lower"), _SHORTEST * np.median(lengths)))

    @property
    def pairs(self) -> list[tuple[Clip, Sound]]:
        """Each clip with what was read of it."""
        return list(zip(self.clips, self.sounds, strict=True))

    @property
    def is_on_disk(self) -> bool:
        """Whether what is computed of them may be asked for again: they are in files."""
        return all(sound.path is not None for sound in self.sounds)

    def recorded(self, index: int) -> Waveform:
        """The microphones of clip `index` that are used, (channels, samples)."""
        return self.sounds[index].waveform(self.front_end.n_microphones)

    def waveform(self, index: int) -> npt.NDArray[np.float32]:
        """Samples of clip `index`, shape (samples,)."""
        return np.asarray(self.stacked([index], "cpu")[0])

    def batches(
        self, device: torch.device | str = "cpu", max_samples: int = 1 << 22
    ) -> Iterator[tuple[npt.NDArray[np.int64], torch.Tensor]]:
        """Batches of clips of equal length, longest first: (indices (b,), waveforms (b, samples) on the device).

        Memory is bounded by `max_samples` of a batch (at least one clip), not by the number of clips. `AsdError` as of
        `stacked`.
        """
        for indices in self.batch_rows(max_samples):
            yield indices, self.stacked(indices, device)

    def batch_rows(self, max_samples: int) -> list[npt.NDArray[np.int64]]:
        """Indices (b,) of the clips of each batch, see `batches`."""
        lengths = self.lengths_samples
        rows = []
        for length in np.unique(lengths)[::-1]:
            same = np.flatnonzero(lengths == length)
            size = max(1, int(max_samples // length))
            rows += [same[start : start + size] for start in range(0, len(same), size)]
        return rows

    def stacked(self, indices: Sequence[int] | npt.NDArray[np.int64], device: torch.device | str) -> torch.Tensor:
        """Waveforms (batch, samples) of clips of one length, in one call of the front end.

        `AsdError` where what it makes of a clip is not finite.
        """
        import torch

        recorded = torch.from_numpy(np.stack([self.recorded(int(i)) for i in indices])).to(device)
        if self.front_end.is_plain:
            return recorded[:, 0]  # which is finite: the files were checked
        from asd.data.frontends import apply_front_end

        waveforms = apply_front_end(self.front_end, recorded)
        broken = (~waveforms.sum(1).isfinite()).nonzero().flatten().tolist()  # one bad sample spoils a sum
        if broken:
            raise AsdError(
                f"frontend={self.front_end.name} makes NaN or infinity of {self.clips[indices[broken[0]]].path}; "
                f"remove the recording, or use frontend=near"
            )
        return waveforms

    def distinct(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Clips without the copies of others, and which of them each clip is: (distinct,) and (clips,)."""
        numbers: dict[tuple[str, int, int], int] = {}
        every = [numbers.setdefault((s.content, s.first, s.n_samples), len(numbers)) for s in self.sounds]
        return np.unique(every, return_index=True)[1], np.array(every, np.int64)

    def subset(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> Recordings:
        """Some of the clips, in the order given, by themselves."""
        chosen = [int(i) for i in indices]
        if chosen == [*range(len(self))]:
            return self
        return replace(self, clips=tuple(self.clips[i] for i in chosen), sounds=tuple(self.sounds[i] for i in chosen))

    def windows(self, n_samples: int, uncut_lengths: float = 1.0) -> tuple[Recordings, npt.NDArray[np.int64]]:
        """The fewest windows that cover each clip, evenly spaced.

        Args:
            n_samples: length of a window.
            uncut_lengths: clips of up to so many windows' length are not cut.

        Returns:
            The windows, clip after clip, and the number of the clip of each, (windows,).
        """
        lengths = self.lengths_samples
        counts = np.where(lengths <= uncut_lengths * n_samples, 1, -(-lengths // n_samples))
        owner = np.repeat(np.arange(len(lengths)), counts)
        if len(owner) == len(self):
            return self, owner
        sounds = []
        for sound, length, count in zip(self.sounds, lengths.tolist(), counts.tolist(), strict=True):
            size = length if count == 1 else n_samples
            starts = np.linspace(0, length - size, count).round().astype(int).tolist()
            sounds += [sound.window(start, size) for start in starts] if count > 1 else [sound]
        clips = tuple(self.clips[i] for i in owner.tolist())
        return replace(self, clips=clips, sounds=tuple(sounds)), owner

    def far(self) -> Recordings:
        """The same clips by the far microphone alone."""
        return replace(self, front_end=FrontEnd("far"))

    @cached_property
    def fingerprint(self) -> str:
        """What data is the same, for runs, caches and encoders: a hash of all recordings, in order.

        A recording is the same wherever it lies, as long as it has the same name, content and everything that is
        known of it. Where one of them changes, what was learnt or computed from it is of other data.
        """
        return fingerprint(
            [
                (
                    *(clip.name, clip.machine, clip.section, clip.split, clip.domain, clip.label),
                    sorted(clip.attributes.items()),
                    sound.content,
                    *([] if sound.whole is None else [sound.first, sound.n_samples]),
                )
                for clip, sound in self.pairs
            ]
        )

    @property
    def sections(self) -> list[str]:
        """Sections of the clips, sorted."""
        return sorted({clip.section for clip in self.clips})

    def key(self) -> list[Any]:
        """What decides the waveforms and what they are taken for: plain values, for the key of a cache."""
        return [self.fingerprint, self.sample_rate_hz, self.front_end.key()]


def check(
    clips: Sequence[Clip],
    *,
    sample_rate_hz: int,
    front_end: FrontEnd = NEAR,
    least_samples: int = 1,
    refused: list[Refused] | None = None,
    resample: bool = False,
) -> Recordings:
    """Reads every file and refuses what cannot be used, before anything expensive starts.

    Args:
        least_samples: shortest clip that can be used.
        refused: takes the clips that cannot be used, which are then left out; None: they are an error.
        resample: whether files of another rate are brought to `sample_rate_hz`; else they cannot be used.

    Raises:
        AsdError: a file is unreadable, truncated, empty or too short, of another sample rate, holds samples that
            no recording holds, or lacks a microphone; or none is left.
    """

    def checked(clip: Clip) -> Sound | AsdError:
        try:
            if in_utf8(str(clip.path)) != str(clip.path):
                raise AsdError(f"{str(clip.path)!a} has a name that is no UTF-8; rename it")
            if "\r" in str(clip.path):
                raise AsdError(f"{str(clip.path)!a} has a carriage return in its name, which breaks tables; rename it")
            wanted_hz = sample_rate_hz if resample else None
            sound = read_sound(clip.path, front_end.n_microphones, channel=front_end.channel, sample_rate_hz=wanted_hz)
            _check_use(sound, sample_rate_hz, front_end, least_samples)
        except AsdError as error:
            return error
        return sound

    found = [*zip(clips, on_threads(checked, clips), strict=True)]
    kept = [(clip, sound) for clip, sound in found if isinstance(sound, Sound)]
    errors = [(clip, error) for clip, error in found if isinstance(error, AsdError)]
    if refused is not None:
        refused += errors
    elif errors:
        others = [clip.path.name for clip, _ in errors[1:]]
        log_unnamed([error for _, error in errors[1:]], len(clips))
        more = f"; {len(others)} more of {len(clips)} recordings cannot be used: {named(others)}" if others else ""
        raise AsdError(f"{errors[0][1]}{more}")
    if clips and not kept:
        raise AsdError(f"none of {len(clips)} recordings can be used, as {errors[0][1]}")
    return Recordings(tuple(clip for clip, _ in kept), tuple(sound for _, sound in kept), sample_rate_hz, front_end)


def in_memory(
    waveforms: Sequence[npt.NDArray[np.float32]],
    sample_rate_hz: int,
    clips: Sequence[Clip] | None = None,
    front_end: FrontEnd = NEAR,
) -> Recordings:
    """Recordings of waveforms that are in no file.

    Args:
        waveforms: each (samples,), or (microphones, samples) with the near one first; full scale is 1.
        clips: what is known of them; None: nothing, they are of one section and unknown label.

    Raises:
        AsdError: a waveform is empty, holds samples that no recording holds, or lacks a microphone.
    """
    if clips is None:
        names = [Path(f"{i:06d}.wav") for i in range(len(waveforms))]
        clips = [Clip(name, "machine", "00", Split.TEST) for name in names]
    sounds = [Sound.of(np.atleast_2d(waveform), sample_rate_hz, front_end.n_microphones) for waveform in waveforms]
    for sound in sounds:
        _check_use(sound, sample_rate_hz, front_end, 1)
    return Recordings(tuple(clips), tuple(sounds), sample_rate_hz, front_end)


def joined(parts: Sequence[Recordings]) -> Recordings:
    """Several recordings as one, in order, through the front end of the first."""
    clips = tuple(clip for part in parts for clip in part.clips)
    return replace(parts[0], clips=clips, sounds=tuple(sound for part in parts for sound in part.sounds))


def defects(recordings: Recordings) -> list[tuple[Clip, str]]:
    """Clips of which nothing can be learnt, each with what is wrong: broken rather than quiet recordings."""
    return [(clip, sound.defect) for clip, sound in recordings.pairs if sound.defect]


def _check_use(sound: Sound, sample_rate_hz: int, front_end: FrontEnd, least_samples: int) -> None:
    """Refuses a recording of another rate, with too few microphones, or too short."""
    what = sound.path or "a waveform in memory"
    if sound.sample_rate_hz != sample_rate_hz:
        raise AsdError(
            f"{what} is sampled at {sound.sample_rate_hz} Hz, not {sample_rate_hz} Hz; resample it, or set "
            f"sample_rate_hz={sound.sample_rate_hz} if all recordings are"
        )
    if sound.n_channels < front_end.n_microphones:
        option = f"residual={front_end.residual:g}" if front_end.residual else f"frontend={front_end.name}"
        raise AsdError(
            f"{what} has one channel and {option} needs two (0 near the machine, 1 far, as in 2026); use "
            f"frontend=near residual=0, or check the data"
        )
    if sound.n_samples < least_samples:
        is_sampled_enough = sound.n_samples * sound.file_rate_hz >= least_samples * sample_rate_hz
        way = f"train with sample_rate_hz={sound.file_rate_hz}" if is_sampled_enough else "record for longer"
        raise AsdError(
            f"{what} has {sound.n_samples} samples, fewer than the {least_samples} of the detector's "
            f"shortest input; remove it, or {way}"
        )
