"""Recordings in memory: what a detector works on, read from files once or given as waveforms.

A recording is read whole, once: the same bytes are hashed, their header is checked, they are decoded, the samples
are looked at, and then brought to another rate where that is asked for. What a detector works on afterwards is a
`Sound`, which keeps its samples while memory lasts.

`defect` names recordings without usable sound: silence, stuck values, clipping, the same signal on both microphones.
Such a file can be read, and its scores would look like any others: a dead cable, a converter that hangs, an amplifier
at its limit. It measures samples as they are, so no level has to be known.

Conventions: a waveform is float32 of shape (channels, samples), full scale is 1.

Args:
    samples, waveform, recorded: (channels, samples).
    sample_rate_hz: of them; when read, to which they are brought, None: they stay as they are.
    n_microphones: how many of the channels are of interest, from the first on.
    channel: the one that is used instead, counted from 0, or the mean of all.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock, RLock
from weakref import WeakKeyDictionary, finalize

import numpy as np
import numpy.typing as npt

from asd.data.codecs import Samples, Waveform, check_levels, decode
from asd.types import AsdError, Channel

# Of samples in memory at once: 200 clips of 10 s at 16 kHz, 16 bit, one microphone. To read a clip again takes a
# twentieth of what its features take.
KEPT_BYTES = 1 << 26

_MOST_READ = 2  # recordings whose samples stay for their windows, as these may be hours
_BLOCK = 1 << 20  # samples that are resampled at once, to the same digits as all at once

_Wave = npt.NDArray[np.int16] | npt.NDArray[np.float32]  # (samples,) of one microphone
_SAME = 1e-5  # share of the near power that one factor on the far microphone may leave: 50 dB below it
_STILL_S, _STILL_SAMPLES = 0.05, 256  # no machine and no room holds one value for both, even in coarse steps
_MOST_STILL = 0.1  # share of a recording in such stretches that is still a recording with a gap
_MOST_SILENT = 0.5  # the same of stretches at zero, which may be padding or a gate
_MOST_CLIPPED = 0.2  # share of samples at the two limits
_LEAST_SPAN = 64 / 32768  # between those limits: the samples of a quieter recording know few values
_NO_SPAN = 1e-9  # of the full scale, two steps of 32 bits: below it the smallest powers of features take over


@dataclass(frozen=True, eq=False, kw_only=True)
class Sound:
    """A recording that was read."""

    path: Path | None  # of the file; None: the samples come from memory
    content: str  # SHA-256 of the file, or of the samples
    sample_rate_hz: int  # of the samples
    file_rate_hz: int  # of the file, from which they were brought to `sample_rate_hz`
    n_channels: int  # of the file
    n_samples: int  # per channel, at `sample_rate_hz`
    peak: float = 1.0  # largest absolute sample of the file, 1 where it holds integers; full scale is 1
    level_db: float | None = None  # power of the first microphone around its mean, re full scale; None: not measured
    channel: Channel | None = None  # which of them is used; None: the first ones
    n_heard: int = 1  # channels with a sound in a mean over all; 1 where there is no mean
    lossy: str = ""  # what compressed the file with a loss, such as MP3; "" where nothing did
    defect: str | None = None  # what makes it useless, as the predicate of a sentence; None where nothing does
    kept: Samples | None = None  # (microphones, samples) that are used; None: they are read again when needed
    whole: Sound | None = None  # of which this is a window; None: it is a recording
    first: int = 0  # sample of the whole with which the window begins

    @classmethod
    def of(cls, waveform: Waveform, sample_rate_hz: int, n_microphones: int = 2) -> Sound:
        """The sound of a waveform in memory; `AsdError` where it is empty, or holds samples that no recording holds."""
        if not waveform.size:
            raise AsdError("a waveform in memory holds no samples; leave it out")
        check_levels("a waveform in memory", waveform)
        return cls(
            path=None,
            content=hashlib.sha256(np.ascontiguousarray(waveform).tobytes()).hexdigest(),
            sample_rate_hz=sample_rate_hz,
            file_rate_hz=sample_rate_hz,
            n_channels=len(waveform),
            n_samples=waveform.shape[1],
            peak=_peak(waveform),
            level_db=_level_db(waveform[0]),
            defect=defect(waveform[:n_microphones], sample_rate_hz),
            kept=waveform,
        )

    def waveform(self, n_microphones: int) -> Waveform:
        """The first microphones; `AsdError` where the file has to be read again, and is another one by now."""
        if self.kept is not None:
            return as_float(self.kept[:n_microphones])
        if self.whole is None:
            return as_float(_read_again(self, n_microphones))
        whole = _read_once(self.whole, n_microphones)
        return as_float(whole[:, self.first : self.first + self.n_samples])

    def window(self, start: int, n_samples: int) -> Sound:
        """So many samples from one on, as a sound of its own."""
        kept = None if self.kept is None else self.kept[:, start : start + n_samples]
        return replace(self, n_samples=n_samples, kept=kept, whole=self.whole or self, first=self.first + start)


def _read_again(sound: Sound, n_microphones: int) -> Samples:
    """The first microphones of a recording, from its file."""
    assert sound.path is not None  # samples from memory are kept
    samples, _, _, content = decode(sound.path)
    if content != sound.content:
        raise AsdError(f"{sound.path} has changed while it was in use; run the same command again")
    chosen = chosen_channels(sound.path, samples, n_microphones, sound.channel)
    used = resampled(chosen, sound.file_rate_hz, sound.sample_rate_hz)
    return used if used.flags.contiguous else used.copy()  # without the other channels


def _read_once(sound: Sound, n_microphones: int) -> Samples:
    """The same, once for all threads: the windows of a recording are asked for one after another."""
    with _READING:
        found = _READ_LAST[sound] = _READ_LAST.pop(sound, {})  # the last one now
        for earlier in list(_READ_LAST)[:-_MOST_READ]:
            del _READ_LAST[earlier]
        if n_microphones not in found:
            found[n_microphones] = _read_again(sound, n_microphones)
        return found[n_microphones]


# Samples of the recordings that were last read again, by how many microphones there are of them.
_READ_LAST: WeakKeyDictionary[Sound, dict[int, Samples]] = WeakKeyDictionary()
_READING = Lock()


def read_sound(
    path: Path, n_microphones: int = 1, *, channel: Channel | None = None, sample_rate_hz: int | None = None
) -> Sound:
    """Reads a recording: the one pass over a file.

    Raises:
        AsdError: the file is missing, truncated, empty or no audio, lacks the channel, or holds samples that no
            recording holds.
    """
    samples, file_rate_hz, lossy, content = decode(path)
    chosen = chosen_channels(path, samples, n_microphones, channel)
    broken = defect(chosen, file_rate_hz)
    is_asked = broken or channel == "mean"  # which channels have a sound
    intact = [i for i, wave in enumerate(samples) if is_asked and not _defect_of_one(wave, file_rate_hz)]
    if broken and intact and n_microphones == 1:
        broken = f"{broken}, unlike its channel {intact[0]} (train with channel={intact[0]} takes that)"
    chosen = resampled(chosen, file_rate_hz, sample_rate_hz or file_rate_hz)
    return Sound(
        path=path,
        content=content,
        sample_rate_hz=sample_rate_hz or file_rate_hz,
        file_rate_hz=file_rate_hz,
        n_channels=len(samples),
        n_samples=chosen.shape[1],
        peak=_peak(samples),
        level_db=_level_db(chosen[0]),
        lossy=lossy,
        channel=channel,
        n_heard=len(intact) if channel == "mean" else 1,
        defect=broken,
        kept=_MEMORY.keep(chosen),
    )


def read_wav(path: Path) -> tuple[Waveform, int]:
    """Waveform (channels, samples) and sample rate in Hz of one file; `AsdError` as of `read_sound`."""
    samples, sample_rate_hz, _, _ = decode(path)
    return as_float(samples), sample_rate_hz


class _Memory:
    """What samples may stay in memory, over all recordings of the process."""

    def __init__(self) -> None:
        self.n_bytes = 0
        self._lock = RLock()  # files are read by several threads, and any of them may release samples

    def keep(self, samples: Samples) -> Samples | None:
        """A copy of the samples, counted until it is released; None where there is no room left."""
        with self._lock:
            if self.n_bytes + samples.nbytes > KEPT_BYTES:
                return None
            self.n_bytes += samples.nbytes
        kept = samples.copy()
        finalize(kept, self._release, kept.nbytes)
        return kept

    def _release(self, n_bytes: int) -> None:
        with self._lock:
            self.n_bytes -= n_bytes


_MEMORY = _Memory()


def chosen_channels(what: Path | str, samples: Samples, n_microphones: int, channel: Channel | None) -> Samples:
    """The channels that are used, (microphones, samples); `AsdError` where there is none such in `what` is read."""
    if channel is None:
        return samples[:n_microphones]
    if channel == "mean":
        return samples if len(samples) == 1 else as_float(samples).mean(0, keepdims=True)
    if channel >= len(samples):
        have = "only channel 0" if len(samples) == 1 else f"channels 0 to {len(samples) - 1}"
        raise AsdError(f"{what} has {have} and channel={channel} is asked for; choose another, or channel=mean")
    return samples[channel : channel + 1]


def defect(recorded: Samples, sample_rate_hz: int) -> str | None:
    """What makes a recording useless, as the predicate of a sentence; None where nothing does.

    It is of the near microphone, or of the far one where there is one; other channels do not count.
    """
    if (what := _defect_of_one(recorded[0], sample_rate_hz)) or len(recorded) == 1:
        return what
    if not recorded[1].any():
        return "has a silent far microphone (all samples are zero)"
    if what := _defect_of_one(recorded[1], sample_rate_hz):
        return f"has a far microphone that {what}"
    near, far = recorded[:2].astype(np.float64)
    left = near @ near - (near @ far) ** 2 / (far @ far)
    if left < _SAME * (near @ near):
        return "has the same sound on both microphones up to a factor"
    return None


def _defect_of_one(wave: _Wave, sample_rate_hz: int) -> str | None:
    """The defect of one microphone's samples; None where there is none."""
    lowest, highest = wave.min(), wave.max()
    if lowest == highest:
        value = "zero" if lowest == 0 else f"{_at_full_scale_1(lowest):.4g}"
        return f"is silent (all samples are {value})"
    span = _at_full_scale_1(highest) - _at_full_scale_1(lowest)
    if span < _NO_SPAN:
        return f"is silent (no two samples differ by more than {span:.2g}, and full scale is 1)"
    still, silent = _still_shares(wave, max(_STILL_SAMPLES, round(_STILL_S * sample_rate_hz)))
    if still > _MOST_STILL or still + silent > _MOST_SILENT:
        return f"holds still for {still + silent:.0%} of its length, in stretches of one value"
    clipped = (np.count_nonzero(wave == lowest) + np.count_nonzero(wave == highest)) / len(wave)
    if clipped == 1 and span <= _LEAST_SPAN:
        both = " and ".join(f"{_at_full_scale_1(value):.2g}" for value in (lowest, highest))
        return f"is silent (its samples are {both} alone, and full scale is 1)"
    if clipped > _MOST_CLIPPED and span > _LEAST_SPAN:
        return f"is clipped ({clipped:.0%} of its samples are at one of two limits)"
    return None


def _still_shares(wave: _Wave, least_samples: int) -> tuple[float, float]:
    """Shares of a recording in stretches of at least so many equal samples: not at zero, and at zero."""
    changes = wave[1:] != wave[:-1]
    if np.count_nonzero(changes) > (1 - _MOST_STILL) * len(wave):
        return 0.0, 0.0  # most recordings end here: too few equal neighbours for any such share
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    lengths = np.diff(np.append(starts, len(wave)))
    long = lengths >= least_samples
    at_zero = wave[starts] == 0
    still, silent = (float(lengths[long & which].sum()) / len(wave) for which in (~at_zero, at_zero))
    return still, silent


def _peak(samples: Samples) -> float:
    return 1.0 if samples.dtype == np.int16 else max(float(samples.max()), -float(samples.min()))


def _level_db(wave: _Wave) -> float:
    """Level in dB of one microphone's power around its mean; -200 where there is none."""
    if not len(wave):  # of a sample or two at a higher rate nothing is left
        return -200.0
    around_zero = as_float(wave[:: 1 + (len(wave) >> 22)])  # of four minutes and more every other sample, or fewer
    around_zero -= around_zero.mean()
    return 10.0 * math.log10(max(float(around_zero @ around_zero) / len(around_zero), 1e-20))


def resampled(samples: Samples, rate_hz: int, wanted_hz: int) -> Samples:
    """Samples at another rate, at least one of each channel."""
    if rate_hz == wanted_hz:
        return samples
    import soxr

    stream, n_samples = soxr.ResampleStream(rate_hz, wanted_hz, len(samples), dtype="float32"), samples.shape[1]
    parts = [  # block by block, of whose copies at full scale an hour would take twice as much again
        stream.resample_chunk(as_float(samples[:, at : at + _BLOCK]).T, last=at + _BLOCK >= n_samples)
        for at in range(0, n_samples, _BLOCK)
    ]
    return np.ascontiguousarray(np.concatenate(parts).T, np.float32)


def as_float(samples: Samples) -> Waveform:
    """Samples at full scale 1, in memory of their own."""
    return samples * np.float32(1 / 32768) if samples.dtype == np.int16 else samples.astype(np.float32)


def _at_full_scale_1(value: np.generic) -> float:
    return float(value) / 32768 if value.dtype == np.int16 else float(value)
