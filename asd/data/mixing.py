"""Recorded noise mixed into a recording at a known ratio: first what is random is drawn, then it is applied.

Conventions: recordings (channels, samples) float32; the ratio holds for the first channel, and all channels of
the noise get one gain, as in a room.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asd.data.audio import Sound, Waveform

Recorded = npt.NDArray[np.float32]

LEAST_SNR_DB, MOST_SNR_DB = (
    0.0,
    12.0,
)  # of the recording, machine and background together, over the added noise


@dataclass(frozen=True, eq=False, kw_only=True)
class MixedSound(Sound):
    """A recording with noise in it.

    Attributes:
        recording, noise: what is mixed.
        snr_db: power of the recording over that of the added noise.
        start: where in the noise the recording begins, as a share of its length.
    """

    recording: Sound
    noise: Sound
    snr_db: float
    start: float

    @classmethod
    def with_noise(cls, recording: Sound, noise: Sound, snr_db: float, start: float) -> MixedSound:
        """The recording with that much noise in it.

        Args:
            recording: of the machine.
            noise: without it.
            snr_db: power of the recording over that of the added noise.
            start: where in the noise to begin, as a share of its length.
        """
        parts = json.dumps([recording.content, noise.content, snr_db, start])
        return cls(
            path=recording.path,
            content=hashlib.sha256(parts.encode()).hexdigest(),
            sample_rate_hz=recording.sample_rate_hz,
            file_rate_hz=recording.file_rate_hz,
            n_channels=min(recording.n_channels, noise.n_channels),
            n_samples=recording.n_samples,
            recording=recording,
            noise=noise,
            snr_db=snr_db,
            start=start,
        )

    def waveform(self, n_microphones: int) -> Waveform:
        """The first microphones, (n_microphones, samples)."""
        recording, noise = self.recording.waveform(n_microphones), self.noise.waveform(n_microphones)
        return mix(recording, noise, self.snr_db, self.start)


def mix_noise(sounds: Sequence[Sound], noises: Sequence[Sound], seed: int) -> list[MixedSound]:
    """Each recording with one of the noises at a drawn ratio; a function of the seed and its place in the sequence.

    Args:
        sounds: recordings.
        noises: recordings without the machine.
        seed: of the draws.
    """
    mixed = []
    for index, sound in enumerate(sounds):
        rng = np.random.default_rng([seed, index])
        noise = noises[int(rng.integers(len(noises)))]
        snr_db = rng.uniform(LEAST_SNR_DB, MOST_SNR_DB)
        mixed.append(MixedSound.with_noise(sound, noise, snr_db, rng.uniform()))
    return mixed


def mix(recorded: Recorded, noise: Recorded, snr_db: float, start: float) -> Recorded:
    """A recording with noise in it, the latter repeated where it is shorter.

    Args:
        recorded: (channels, samples).
        noise: (channels, its own samples).
        snr_db: power of the first channel over that of the noise added to it.
        start: where in the noise to begin, as a share of its length.

    Returns:
        (channels, samples). Where one of the two is silent, the recording is returned as it is.
    """
    n_samples, n_noise = recorded.shape[1], noise.shape[1]
    cut = noise[:, (int(start * n_noise) + np.arange(n_samples)) % n_noise]
    power, noise_power = (float(np.square(x[0], dtype=np.float64).mean()) for x in (recorded, cut))
    if not noise_power:
        return recorded
    gain = np.sqrt(power / noise_power) * 10 ** (-snr_db / 20)
    return np.asarray(recorded + np.float32(gain) * cut, np.float32)
