"""Waveforms to time-frequency features, in batches, on the device.

Conventions: waveforms (batch, samples) float32; features (batch, bands, frames); levels in dB re 1.
The only module that knows torchaudio.
"""

from __future__ import annotations

import math
import warnings
from typing import Literal

import torch
import torchaudio
from torch import nn
from torch.nn.functional import pad

from asd.types import AsdError

# The official baseline's floor: the smallest step of float64 around 1, about -156.5 dB.
POWER_FLOOR = 2.220446049250313e-16


def resample(waveforms: torch.Tensor, from_hz: int, to_hz: int) -> torch.Tensor:
    """Waveforms (batch, samples) at another sample rate, band-limited; the same tensor at the same rate."""
    if from_hz == to_hz:
        return waveforms
    return torchaudio.functional.resample(waveforms, from_hz, to_hz)


def mel_filters(n_fft: int, n_mels: int, sample_rate_hz: int = 16000) -> torch.Tensor:
    """Slaney mel filters, (n_mels, n_fft // 2 + 1); as in librosa, narrow bands may be empty."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filterbank", UserWarning)
        filters: torch.Tensor = torchaudio.functional.melscale_fbanks(
            n_fft // 2 + 1, 0.0, sample_rate_hz / 2, n_mels, sample_rate_hz, norm="slaney", mel_scale="slaney"
        )
    return filters.T


def log_edges(low_hz: float, high_hz: float, n_bands: int) -> torch.Tensor:
    """Edges of bands of equal width on a logarithmic axis, (bands + 1,) float64."""
    return torch.logspace(math.log10(low_hz), math.log10(high_hz), n_bands + 1, dtype=torch.float64)


def band_means(edges_hz: torch.Tensor, bins_hz: torch.Tensor) -> torch.Tensor:
    """Means over bins between consecutive edges, (bands, bins) float32; a band without a bin takes the nearest one."""
    low, high = edges_hz[:-1, None], edges_hz[1:, None]
    inside = (bins_hz >= low) & (bins_hz < high)
    nearest = (bins_hz - (low + high) / 2).abs().argmin(1)
    empty = ~inside.any(1)
    inside[empty, nearest[empty]] = True
    return (inside / inside.sum(1, keepdim=True)).float()


class LogMel(nn.Module):
    """Log-mel spectrogram exactly as the official baseline computes it with librosa.

    Slaney mel scale and normalisation, periodic Hann window, zero-padded centred frames,
    power 2, `10 log10(max(mel, 2.2e-16))`; no normalisation of the input.
    """

    def __init__(
        self, sample_rate_hz: int = 16000, n_fft: int = 1024, hop_samples: int = 512, n_mels: int = 128
    ) -> None:
        super().__init__()
        self.hop_samples = hop_samples
        self.mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=sample_rate_hz,
            n_fft=n_fft,
            hop_length=hop_samples,
            n_mels=n_mels,
            f_min=0.0,
            f_max=sample_rate_hz / 2,
            power=2.0,
            center=True,
            pad_mode="constant",
            norm="slaney",
            mel_scale="slaney",
        )

    def n_frames(self, n_samples: int) -> int:
        """Number of frames of a clip."""
        return 1 + n_samples // self.hop_samples

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Levels in dB: (batch, samples) -> (batch, mels, frames)."""
        power: torch.Tensor = self.mel(waveforms)
        return 10.0 * torch.log10(power.clamp_min(POWER_FLOOR))


class KaldiFbank(nn.Module):
    """Log-mel filter bank as Kaldi computes it, for whole batches: the input of pretrained Transformers.

    Frames of 25 ms every 10 ms at 16 kHz, none beyond the ends; each without its mean, pre-emphasised by
    0.97 and windowed; power of 512 frequencies, 128 mel bands from 20 Hz to 8 kHz, natural logarithm. Equal
    to `torchaudio.compliance.kaldi.fbank` without dither, which takes one waveform at a time.

    Args:
        window: "povey", Kaldi's own (a Hann window to the power 0.85), or "hanning".
    """

    sample_rate_hz = 16000
    frame_samples, hop_samples, n_fft, n_mels = 400, 160, 512, 128

    def __init__(self, window: Literal["povey", "hanning"] = "povey") -> None:
        super().__init__()
        powers = {"povey": 0.85, "hanning": 1.0}
        if window not in powers:
            raise AsdError(f"window={window} is unknown; choose one of {', '.join(powers)}")
        hann = torch.hann_window(self.frame_samples, periodic=False)
        self.register_buffer("window", hann.pow(powers[window]), persistent=False)
        filters, _ = torchaudio.compliance.kaldi.get_mel_banks(
            self.n_mels, self.n_fft, self.sample_rate_hz, 20.0, 0.0, 100.0, -500.0, 1.0
        )
        # The highest frequency lies on the upper edge of the last band, where its weight is zero.
        self.register_buffer("filters", pad(filters, (0, 1)).T.contiguous(), persistent=False)

    @classmethod
    def n_samples(cls, n_frames: int) -> int:
        """Fewest samples that give so many frames."""
        return cls.frame_samples + (n_frames - 1) * cls.hop_samples

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) of at least 400 -> (batch, frames, 128)."""
        # What fits into the cache of a CPU is twice as fast; a GPU likes everything at once.
        rows = len(waveforms) if waveforms.is_cuda else 1
        return torch.cat([self._levels(part) for part in waveforms.split(rows)])

    def _levels(self, waveforms: torch.Tensor) -> torch.Tensor:
        frames = waveforms.float().unfold(1, self.frame_samples, self.hop_samples)
        frames = frames - frames.mean(2, keepdim=True)
        before = pad(frames, (1, 0), mode="replicate")[:, :, :-1]
        spectrum = torch.fft.rfft((frames - 0.97 * before) * self.get_buffer("window"), self.n_fft)
        power = spectrum.abs().square() @ self.get_buffer("filters")
        return power.clamp_min(torch.finfo(torch.float32).eps).log()
