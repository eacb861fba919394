"""Recordings of spoken words with their speakers, and how other speakers and microphones would change them.

<data>/<word>_<speaker>_<number>.wav    or in <data>/recordings/, as the Free Spoken Digit Dataset has them

What is random in a change is drawn first, then applied. A recording played at another speed has another pitch and
other formants, as another speaker has; a smooth filter stands for another microphone and room, white noise for
another recorder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from asd.core.runtime import log
from asd.core.storage import list_names
from asd.data.audio import read_wav
from asd.data.codecs import Waveform
from asd.features.augment import Generator
from asd.places import find_recordings
from asd.studies.config import Digits
from asd.types import AsdError

_N_BANDS = 9  # of a random filter, every 500 Hz at 8 kHz: as wide as a formant, so that none is made or lost

KNOWN = "known"
"""The split in which every speaker is known; the others are named after the speaker who is left out."""


@dataclass(frozen=True, slots=True)
class Words:
    """Recordings on the device."""

    waveforms: torch.Tensor  # (recordings, samples), each of root mean square 1 over its own length, zeros around it
    labels: torch.Tensor  # (recordings,) index into `classes`
    speakers: torch.Tensor  # (recordings,) index into `names`
    numbers: torch.Tensor  # (recordings,) which of the recordings of this word by this speaker it is
    classes: tuple[str, ...]  # the words, in alphabetical order
    names: tuple[str, ...]  # of the speakers, likewise
    fingerprint: str  # hash of file names and samples

    def split(self, name: str, n_known_test: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Indices (n,) to learn from and (m,) to test on.

        The name is of the speaker who is left out and tested on; `KNOWN` tests on the first `n_known_test` recordings
        of every word and speaker (5 of 50 by the convention of the dataset).
        """
        held_out = self.numbers < n_known_test if name == KNOWN else self.speakers == self.names.index(name)
        learnt, tested = self.labels[~held_out].unique(), self.labels[held_out].unique()
        if not len(tested) or not torch.isin(tested, learnt).all():
            raise AsdError(
                f"the split {name!r} tests {len(tested)} words and learns {len(learnt)}; give recordings of every "
                f"word by two speakers at least, with numbers below and above n_known_test={n_known_test}"
            )
        return (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]


def load_words(folder: Path, config: Digits, device: torch.device) -> Words:
    """Reads all recordings of a folder.

    A recording that is too long keeps the stretch with the most energy; a shorter one lies in the middle.
    """
    list_names(folder)
    paths = _wav_files(folder)
    spoken, speaking, number = zip(*map(_parts, paths), strict=True)
    classes, names = tuple(sorted({*spoken})), tuple(sorted({*speaking}))
    if len(classes) < 2:
        raise AsdError(f"{folder} holds recordings of one word, {classes[0]}; give two words at least")
    n_samples, digest = round(config.duration_s * config.sample_rate_hz), hashlib.sha256()
    waveforms, n_cut = [], 0
    for path in paths:
        waveform, rate_hz = read_wav(path)
        if rate_hz != config.sample_rate_hz:
            raise AsdError(
                f"{path} is sampled at {rate_hz} Hz, not {config.sample_rate_hz} Hz; resample it, or set "
                f"sample_rate_hz={rate_hz} if all recordings are"
            )
        digest.update(path.name.encode() + waveform.tobytes())
        n_cut += waveform.shape[1] > n_samples
        waveforms.append(_fitted(waveform, n_samples, path))
    if n_cut:
        log.info("%d of %d recordings are longer than %g s and were cut", n_cut, len(paths), config.duration_s)
    columns = (map(classes.index, spoken), map(names.index, speaking), number)
    labels, speakers, numbers = (torch.tensor([*column], device=device) for column in columns)
    stacked = torch.from_numpy(np.stack(waveforms)).to(device)
    return Words(stacked, labels, speakers, numbers, classes, names, digest.hexdigest()[:16])


def _wav_files(folder: Path) -> Sequence[Path]:
    for place in (folder, folder / "recordings"):
        if paths := find_recordings(place):
            return paths
    what = "holds no WAV files" if folder.is_dir() else "is not a folder"
    raise AsdError(
        f"data={folder} {what}; give the folder of the Free Spoken Digit Dataset "
        f"(github.com/Jakobovski/free-spoken-digit-dataset), or of any files <word>_<speaker>_<number>.wav"
    )


def _parts(path: Path) -> tuple[str, str, int]:
    """Word, speaker and number."""
    word, _, rest = path.stem.partition("_")
    speaker, _, number = rest.rpartition("_")
    if not (word and speaker and number.isdecimal()):
        raise AsdError(f"{path} does not name word and speaker; name it <word>_<speaker>_<number>.wav")
    if speaker == KNOWN:
        raise AsdError(f"{path} is by a speaker called {KNOWN}, the name of a split; rename the speaker")
    return word, speaker, int(number)


def _fitted(waveform: Waveform, n_samples: int, path: Path) -> np.ndarray:
    """(n_samples,) of the first channel, at root mean square 1 over what there is of it."""
    samples = waveform[0]
    excess = len(samples) - n_samples
    if excess > 0:
        energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
        start = int(np.argmax(energy[n_samples:] - energy[:-n_samples]))
        samples = samples[start : start + n_samples]
    level = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))) if len(samples) else 0.0
    if level == 0.0:
        raise AsdError(f"{path} is silent or empty; remove it")
    before = max(-excess, 0) // 2
    return np.pad(samples / np.float32(level), (before, n_samples - len(samples) - before))


class Perturbation(NamedTuple):
    """Drawn for a batch."""

    speed: torch.Tensor  # (batch,) above 1: faster, shorter and higher
    shift: torch.Tensor  # (batch,) in samples, positive: later
    gains_db: torch.Tensor  # (batch, bands) at equally spaced frequencies from 0 Hz to half the sample rate
    noise: torch.Tensor  # (batch, samples) its root mean square is to be added to that of the recording, 1


def draw_perturbation(n: int, n_samples: int, config: Digits, generator: Generator = None) -> Perturbation:
    """Random numbers for a batch of `n` waveforms of `n_samples`."""
    speed = config.speed ** (2 * torch.rand(n, generator=generator) - 1)
    shift = (2 * torch.rand(n, generator=generator) - 1) * config.shift_s * config.sample_rate_hz
    gains_db = config.filter_db * torch.randn(n, _N_BANDS, generator=generator)
    loudest, softest = config.least_snr_db, config.most_snr_db
    snr_db = loudest + (softest - loudest) * torch.rand(n, 1, generator=generator)
    noise = 10 ** (-snr_db / 20) * torch.randn(n, n_samples, generator=generator)
    return Perturbation(speed, shift, gains_db, noise)


def perturb(waveforms: torch.Tensor, params: Perturbation) -> torch.Tensor:
    """Waveforms (batch, samples) as they might have been."""
    speed, shift, gains_db, noise = (values.to(waveforms.device) for values in params)
    return _filtered(_played(waveforms, speed, shift), gains_db) + noise


def _played(waveforms: torch.Tensor, speed: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """At another speed around the middle, then shifted; zeros where the recording has ended.

    Between samples a straight line is drawn: at 8 kHz it costs up to 3 dB at 2 kHz, less than the filters do.
    """
    n_samples = waveforms.shape[1]
    middle = (n_samples - 1) / 2
    times = torch.arange(n_samples, device=waveforms.device)
    places = (times - middle - shift[:, None]) * speed[:, None] + middle
    before = places.floor()
    after_part = places - before
    padded = torch.nn.functional.pad(waveforms, (1, 2))  # zeros stand for everything outside
    index = before.long().clamp(-1, n_samples) + 1
    return (1 - after_part) * padded.gather(1, index) + after_part * padded.gather(1, index + 1)


def _filtered(waveforms: torch.Tensor, gains_db: torch.Tensor) -> torch.Tensor:
    """With the gains, straight lines in decibels between them; without delay."""
    spectrum = torch.fft.rfft(waveforms)
    curve_db = torch.nn.functional.interpolate(gains_db[:, None], spectrum.shape[1], mode="linear", align_corners=True)
    return torch.fft.irfft(spectrum * 10 ** (curve_db[:, 0] / 20), n=waveforms.shape[1])
