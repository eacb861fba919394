from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.data.recordings import Recordings, in_memory
from asd.features.waveforms import ResidentWaveforms, segments
from asd.types import AsdError

LENGTHS = (3, 10, 25)
CPU = torch.device("cpu")


def counting(gain: float = 1.0) -> Recordings:
    """Clips of known samples: clip k counts up from 1000 k, in steps of 1/32768, times `gain`."""
    steps = [1000 * k + np.arange(length) for k, length in enumerate(LENGTHS)]
    return in_memory([(own * gain / 32768).astype(np.float32) for own in steps], 16000)


@settings(max_examples=60)
@given(clip=st.integers(0, 2), n_samples=st.integers(1, 30), seed=st.integers(0, 99))
def test_segments_are_stretches_of_their_clip(clip: int, n_samples: int, seed: int) -> None:
    resident = ResidentWaveforms(counting(), CPU, 1000)
    draw = torch.Generator().manual_seed(seed)
    cut = resident.random_segments(torch.tensor([clip, clip]), n_samples, draw)
    steps = (cut * 32768).long() - 1000 * clip
    assert cut.shape == (2, n_samples)
    assert ((steps >= 0) & (steps < LENGTHS[clip])).all()
    assert ((steps.diff() == 1) | (steps.diff() == 1 - LENGTHS[clip])).all()
    if n_samples <= LENGTHS[clip]:
        assert (steps.diff() == 1).all()
    again = resident.random_segments(torch.tensor([clip, clip]), n_samples, draw.manual_seed(seed))
    assert torch.equal(cut, again)


def test_every_position_is_reached() -> None:
    resident = ResidentWaveforms(counting(), CPU, 1000)
    draw = torch.Generator().manual_seed(0)
    firsts = resident.random_segments(torch.full((400,), 1), 8, draw)[:, 0] * 32768 - 1000
    assert set(firsts.long().tolist()) == {0, 1, 2}


def test_positions_are_equally_likely_shares_of_double_precision() -> None:
    """Single precision would leave out positions in long clips, and other draws would train another model."""
    length, n_samples = 5000, 1000
    resident = ResidentWaveforms(in_memory([(np.arange(length) / 32768).astype(np.float32)], 16000), CPU, 10_000)
    clips = torch.zeros(200, dtype=torch.int64)
    firsts = (resident.random_segments(clips, n_samples, torch.Generator().manual_seed(3))[:, 0] * 32768).long()
    shares = torch.rand(200, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).numpy()
    np.testing.assert_array_equal(firsts, np.floor(shares * (length - n_samples + 1)))


@pytest.mark.parametrize("gain", [0.3, 7.77, 1e-4])
def test_samples_of_other_than_16_bit_keep_96_db(gain: float) -> None:
    recordings = counting(gain)
    resident = ResidentWaveforms(recordings, CPU, 1000)
    for clip in range(3):
        expected = recordings.waveform(clip)
        kept = resident.random_segments(torch.tensor([clip]), LENGTHS[clip])[0].numpy()
        assert np.abs(np.sort(kept) - np.sort(expected)).max() <= np.abs(expected).max() * 2e-5


def test_more_than_the_limit_is_refused() -> None:
    with pytest.raises(AsdError, match=r"waveforms of 3 training clips .* raise it or train on fewer clips"):
        ResidentWaveforms(counting(), CPU, 75)
    with pytest.raises(AsdError, match=r"take 0\.00 GiB, more than the 0\.00 GiB of embedding\.memory_gib"):
        ResidentWaveforms(counting(), CPU, 75)


@settings(max_examples=60)
@given(length=st.integers(1, 60), n_samples=st.integers(1, 20))
def test_whole_clips_are_covered(length: int, n_samples: int) -> None:
    x = torch.arange(length).repeat(2, 1)
    cut = segments(x, n_samples)
    assert cut.shape == (2, max(1, -(-length // n_samples)), n_samples)
    assert torch.equal(cut[0], cut[1])
    if length >= n_samples:
        assert set(cut[0].flatten().tolist()) == set(range(length))
        assert (cut[0].diff() == 1).all()
    else:
        assert torch.equal(cut[0, 0], torch.arange(n_samples) % length)
