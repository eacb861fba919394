"""Two microphones to the one waveform that a detector gets: pure functions, on any device, a batch at once.

    near, far   one microphone alone
    mean        the mean of both
    cancel      the near one without what the far one explains of it, by complex least squares per frequency
    subtract    the magnitude of the far one taken off that of the near one

Conventions: pairs (batch, 2, samples) float32, row 0 near the machine, row 1 far from it; waveforms
(batch, samples). Nothing here is scaled to a peak: in floating point a common factor changes no ratio.
"""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from asd.data.activity import turn_down
from asd.data.microphones import FrontEnd

CANCEL_SAMPLES, CANCEL_HOP_SAMPLES = 1024, 512
SUBTRACT_SAMPLES, SUBTRACT_HOP_SAMPLES = 512, 256

_LEAST_POWER = 1e-12  # of a frequency of the far microphone, summed over frames: silence explains nothing
_FLOOR = 0.1  # share of the magnitude that stays where subtraction would leave none


@torch.no_grad()
def apply_front_end(front_end: FrontEnd, recorded: torch.Tensor) -> torch.Tensor:
    """What a detector gets of recordings of one length: (batch, microphones, samples) -> (batch, samples).

    Args:
        front_end: which microphones, and what is done with them.
        recorded: (batch, microphones, samples).
    """
    waveforms = FRONT_ENDS[front_end.name](recorded)
    if front_end.profile:
        waveforms = subtract_profile(waveforms, torch.tensor(front_end.profile, device=waveforms.device))
    if front_end.activity:
        waveforms = turn_down(waveforms, torch.tensor(front_end.activity, device=waveforms.device))
    return waveforms


def near(pairs: torch.Tensor) -> torch.Tensor:
    """The microphone near the machine: (batch, 2, samples) -> (batch, samples)."""
    return pairs[:, 0]


def far(pairs: torch.Tensor) -> torch.Tensor:
    """The microphone far from the machine: (batch, 2, samples) -> (batch, samples)."""
    return pairs[:, 1]


def mean(pairs: torch.Tensor) -> torch.Tensor:
    """The mean of both microphones: (batch, 2, samples) -> (batch, samples)."""
    return pairs.mean(1)


def cancel(pairs: torch.Tensor) -> torch.Tensor:
    """The near microphone C without what the far one F predicts of it: (batch, 2, samples) -> (batch, samples).

    Per clip and frequency one complex factor H = sum_t C conj(F) / (sum_t |F|^2 + 1e-12) is fitted over all
    frames, and C - H F is what remains. Of all such factors it leaves the least power, so it takes from the
    machine, too, as much as the far microphone picks up of it.

    Source: front end "W1" of github.com/kasahart/asd-experiments (post-challenge, DCASE 2026 Task 2).
    """
    spectra = _spectra(pairs, CANCEL_SAMPLES, CANCEL_HOP_SAMPLES)
    close, distant = spectra[:, 0], spectra[:, 1]
    explained = (close * distant.conj()).sum(-1) / (distant.abs().square().sum(-1) + _LEAST_POWER)
    return _waveforms(close - explained[..., None] * distant, pairs.shape[-1], CANCEL_HOP_SAMPLES)


def subtract(pairs: torch.Tensor) -> torch.Tensor:
    """The far magnitude off the near one, with the near phase: (batch, 2, samples) -> (batch, samples).

    |Y| = |C| - |F| where that is positive, else 0.1 |C|.

    Source: Boll, "Suppression of acoustic noise in speech using spectral subtraction", 1979.
    """
    spectra = _spectra(pairs, SUBTRACT_SAMPLES, SUBTRACT_HOP_SAMPLES)
    return _less(spectra[:, 0], spectra[:, 1].abs(), pairs.shape[-1])


def subtract_profile(waveforms: torch.Tensor, magnitudes: torch.Tensor) -> torch.Tensor:
    """The same with the magnitudes of a noise known beforehand.

    Args:
        waveforms: (batch, samples).
        magnitudes: (bins,) of the noise, from `magnitude_profile`.

    Returns:
        (batch, samples).
    """
    spectra = _spectra(waveforms, SUBTRACT_SAMPLES, SUBTRACT_HOP_SAMPLES)
    return _less(spectra, magnitudes[:, None], waveforms.shape[-1])


def magnitude_profile(waveforms: torch.Tensor) -> torch.Tensor:
    """Mean magnitude of each frequency over all frames: (batch, samples) -> (batch, bins)."""
    return _spectra(waveforms, SUBTRACT_SAMPLES, SUBTRACT_HOP_SAMPLES).abs().mean(-1)


FRONT_ENDS = {"near": near, "far": far, "mean": mean, "cancel": cancel, "subtract": subtract}


def _less(spectra: torch.Tensor, magnitudes: torch.Tensor, n_samples: int) -> torch.Tensor:
    """Magnitudes taken off spectra (batch, bins, frames): (batch, n_samples)."""
    own = spectra.abs()
    left = torch.where(own > magnitudes, own - magnitudes, _FLOOR * own)
    gain = left / own.clamp_min(torch.finfo(own.dtype).tiny)
    return _waveforms(spectra * gain, n_samples, SUBTRACT_HOP_SAMPLES)


def _spectra(waveforms: torch.Tensor, n_fft: int, hop_samples: int) -> torch.Tensor:
    """Periodic Hann, centred frames: (..., samples) -> (..., bins, frames)."""
    # Up to a whole number of hops: the last samples would else lie under the tail of one window, by whose
    # square the inverse divides.
    rows = pad(waveforms.flatten(0, -2), (0, -waveforms.shape[-1] % hop_samples))
    spectra = torch.stft(
        rows,
        n_fft,
        hop_samples,
        window=torch.hann_window(n_fft, device=rows.device),
        pad_mode="constant",
        return_complex=True,
    )
    return spectra.unflatten(0, waveforms.shape[:-1])


def _waveforms(spectra: torch.Tensor, n_samples: int, hop_samples: int) -> torch.Tensor:
    """The inverse of `_spectra` for (batch, bins, frames): (batch, n_samples)."""
    n_fft = 2 * (spectra.shape[1] - 1)
    window = torch.hann_window(n_fft, device=spectra.device)
    whole = n_samples + -n_samples % hop_samples
    return torch.istft(spectra, n_fft, hop_samples, window=window, length=whole)[:, :n_samples]
