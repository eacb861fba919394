"""Recorded noise mixed into a recording at a known ratio: first what is random is drawn, then it is applied.

Conventions: recordings (channels, samples) float32; the ratio holds for the first channel, and all channels of
the noise get one gain, as in a room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asd.data.audio import Sound

Recorded = npt.NDArray[np.float32]

LEAST_SNR_DB, MOST_SNR_DB = (
    0.0,
    12.0,
)  # of the recording, machine and background together, over the added noise


@dataclass(frozen=True)
class Addition:
    """What is mixed into one clip.

    Attributes:
        noise: recording of the noise.
        snr_db: power of the clip over that of the added noise.
        start: where in the noise the clip begins, as a share of its length.
    """

    noise: Sound
    snr_db: float
    start: float

    def key(self) -> list[Any]:
        """What decides the sound: plain values, for a hash."""
        return [self.noise.content, self.snr_db, self.start]


def draw_additions(n_clips: int, noises: Sequence[Sound], seed: int) -> tuple[Addition, ...]:
    """A noise for each of `n_clips` clips; a function of the seed and the clip's place in the sequence."""
    additions = []
    for index in range(n_clips):
        rng = np.random.default_rng([seed, index])
        noise = noises[int(rng.integers(len(noises)))]
        additions.append(Addition(noise, rng.uniform(LEAST_SNR_DB, MOST_SNR_DB), rng.uniform()))
    return tuple(additions)


def mix(recorded: Recorded, noise: Recorded, snr_db: float, start: float) -> Recorded:
    """A recording with noise in it, the latter repeated where it is shorter.

    Args:
        recorded: (channels, samples).
        noise: (channels, its own samples).
        snr_db: power of the first channel over that of the noise added to it.
        start: where in the noise to begin, as a share of its length.

    Returns:
        (channels, samples). Silence, of either, stays without the other.
    """
    n_samples, n_noise = recorded.shape[1], noise.shape[1]
    cut = noise[:, (int(start * n_noise) + np.arange(n_samples)) % n_noise]
    power, noise_power = (float(np.square(x[0], dtype=np.float64).mean()) for x in (recorded, cut))
    if not noise_power:
        return recorded
    gain = np.sqrt(power / noise_power) * 10 ** (-snr_db / 20)
    return np.asarray(recorded + np.float32(gain) * cut, np.float32)
