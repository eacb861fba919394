"""Waveforms of all training clips in one tensor on the device, and segments of a fixed length cut from them.

Samples are kept as 16-bit integers with a scale per clip, which is exact for 16-bit recordings and 96 dB
below the peak for others: a full-size machine of 1,000 clips of 10 s takes 0.32 GB. Clips shorter than a
segment are repeated end to end.
"""

from __future__ import annotations

import numpy as np
import torch

from asd.data.recordings import Recordings
from asd.types import AsdError

_BYTES_PER_SAMPLE = 2


class ResidentWaveforms:
    """All waveforms of the recordings on the device, back to back."""

    def __init__(self, recordings: Recordings, device: torch.device, most_bytes: int) -> None:
        lengths = recordings.lengths_samples
        needed = int(lengths.sum()) * _BYTES_PER_SAMPLE
        if needed > most_bytes:
            raise AsdError(
                f"the waveforms of {len(recordings)} training clips take {needed / 2**30:.2f} GiB, more than the "
                f"{most_bytes / 2**30:.2f} GiB of embedding.memory_gib; raise it or train on fewer clips"
            )
        starts = np.cumsum(lengths) - lengths
        self.samples = torch.empty(int(lengths.sum()), dtype=torch.int16, device=device)
        self.scales = torch.empty(len(recordings), device=device)
        self.starts = torch.from_numpy(starts).to(device)
        self.lengths = torch.from_numpy(lengths).to(device)
        for indices, waveforms in recordings.batches(device):
            steps, scales = _as_int16(waveforms)
            for i, own, scale in zip(indices.tolist(), steps, scales, strict=True):
                self.samples[starts[i] : starts[i] + lengths[i]], self.scales[i] = own, scale

    def random_segments(
        self, clips: torch.Tensor, n_samples: int, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """One segment of each clip from a random position, wrapping around where the clip is shorter.

        Args:
            clips: (batch,) int64 indices, on the device.
            generator: of random numbers on the CPU; None: torch's own.

        Returns:
            (batch, n_samples) float32.
        """
        lengths = self.lengths[clips]
        positions = torch.where(lengths >= n_samples, lengths - n_samples + 1, lengths)
        draw = torch.rand(len(clips), dtype=torch.float64, generator=generator).to(positions.device)
        first = (draw * positions).long()
        within = (first[:, None] + torch.arange(n_samples, device=clips.device)) % lengths[:, None]
        return self.samples[self.starts[clips][:, None] + within] * self.scales[clips][:, None]


def segments(waveforms: torch.Tensor, n_samples: int) -> torch.Tensor:
    """Whole clips as the fewest segments that cover them, evenly spread: (batch, segments, n_samples)."""
    length = waveforms.shape[1]
    count = max(1, -(-length // n_samples))
    span = max(0, length - n_samples)
    first = [round(span * i / max(1, count - 1)) for i in range(count)]
    within = (torch.tensor(first)[:, None] + torch.arange(n_samples)) % length
    return waveforms[:, within.to(waveforms.device)]


def _as_int16(waveforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples (batch, samples) as integers, and what to multiply each clip by, (batch,)."""
    steps = waveforms * 32768
    peaks = steps.abs().amax(1)
    is_16_bit = (peaks <= 32767) & (steps == steps.round()).all(1)
    gains = torch.where(is_16_bit, 1.0, 32767 / peaks)
    scales = torch.where(is_16_bit, 1 / 32768, peaks / 32767 / 32768)
    return (steps * gains[:, None]).round().to(torch.int16), scales
