"""What one resolution of the short-time spectrum tells about a clip: vectors of statistics over time.

Conventions: waveforms (batch, samples) float32; vectors (batch, bands). All statistics are levels or ratios, so
a gain changes none of them.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn
from torch.nn.functional import pad

SPECTRAL = ("level", "flux", "skewness", "roughness")

BAND_RANGE = 1e-6  # 60 dB below the loudest band; what lies lower is the converter's noise
BIN_RANGE = 1e-7  # 70 dB below the strongest bin
_LEAST_POWER = 1e-20  # keeps digital silence finite
_LEAST_STEP_DB = 0.05  # a band that never moves has this step


class SpectralStatistics(nn.Module):
    """Level, flux, skewness and roughness of the bands of one short-time Fourier transform.

    Periodic Hann window, hop of a quarter, frames centred with mirrored ends.

        level       mean over time of the band's level in dB, less its mean over bands: the spectrum's shape.
                    A mean of levels, not of power, so that a door or a voice in one second does not decide.
        flux        log of the mean step from frame to frame in dB: how restless the band is
        skewness    skewness over time of the level: whether the band is loud or quiet for moments
        roughness   log of the mean step from bin to bin of the mean level in dB: how tonal the band is

    Args:
        n_fft: window and transform length in samples.
        bands: (bands, n_fft // 2 + 1) filter bank.
        averages: (bands, n_fft // 2 + 1) bank over which the steps of roughness are averaged.
        names: which statistics are computed.
    """

    window: torch.Tensor
    bands: torch.Tensor
    averages: torch.Tensor

    def __init__(
        self, n_fft: int, bands: torch.Tensor, averages: torch.Tensor, names: Collection[str] = SPECTRAL
    ) -> None:
        super().__init__()
        self.names = frozenset(names)
        averages = averages / averages.sum(1, keepdim=True)
        buffers = {"window": torch.hann_window(n_fft), "bands": bands.T, "averages": averages.T[:-1]}
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer.contiguous(), persistent=False)

    def forward(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        """Statistics of clips: (batch, samples) -> {name: (batch, bands)}."""
        power = frame_power(waveforms, self.window)
        levels = decibels(power @ self.bands, BAND_RANGE)
        level = levels.mean(1)
        found = {"level": level - level.mean(1, keepdim=True)}
        if "flux" in self.names:
            found["flux"] = (mean_step(levels) + _LEAST_STEP_DB).log()
        if "skewness" in self.names:
            found["skewness"] = _skewness(levels - level[:, None])
        if "roughness" in self.names:  # a logarithm of every bin costs as much as the transform
            steps_db = decibels(power, BIN_RANGE).mean(1).diff(dim=1).abs()
            found["roughness"] = (steps_db @ self.averages + _LEAST_STEP_DB).log()
        return found


def frame_power(waveforms: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """Power of overlapping windowed frames, a quarter window apart, centred from the first sample on.

    The ends are mirrored; a clip shorter than half a window is repeated back and forth until it is long enough.

    Args:
        waveforms: (batch, samples).
        window: (n_fft,).

    Returns:
        (batch, frames, n_fft // 2 + 1).
    """
    n_fft = len(window)
    half = n_fft // 2
    while waveforms.shape[1] <= half:
        waveforms = torch.cat([waveforms, waveforms.flip(1)], 1)
    padded = pad(waveforms[:, None], (half, half), mode="reflect")[:, 0]
    spectrum = torch.fft.rfft(padded.unfold(1, n_fft, n_fft // 4) * window)
    return spectrum.real.square() + spectrum.imag.square()


def decibels(power: torch.Tensor, dynamic_range: float) -> torch.Tensor:
    """Levels in dB of power (batch, frames, dims), none below a share of the strongest mean over time."""
    least = (dynamic_range * power.mean(1).amax(1)).clamp_min(_LEAST_POWER)
    return torch.maximum(power, least[:, None, None]).log10() * 10.0


def mean_step(levels: torch.Tensor) -> torch.Tensor:
    """Mean absolute step from frame to frame: (batch, frames, dims) -> (batch, dims); 0 for a single frame."""
    return levels.diff(dim=1).abs().sum(1) / max(levels.shape[1] - 1, 1)


def _skewness(deviations: torch.Tensor) -> torch.Tensor:
    """Skewness over time of deviations from the mean: (batch, frames, bands) -> (batch, bands); 0 if constant."""
    squares = deviations.square()
    spread = (squares.sum(1) / max(deviations.shape[1] - 1, 1)).sqrt()
    return (squares * deviations).mean(1) / (spread**3 + 1e-3)
