from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from asd.detectors.encoders.inputs import BeatsInput, EatInput


def test_beats_hears_what_its_public_implementation_gives_it(golden: Path) -> None:
    expected = np.load(golden / "encoders/beats_tiny/io.npz")
    ours = BeatsInput()(torch.from_numpy(expected["waveform"])).mT
    np.testing.assert_allclose(ours.numpy(), expected["fbank"], atol=1e-4)


def test_eat_hears_what_its_public_implementation_gives_it(golden: Path) -> None:
    expected = np.load(golden / "encoders/eat_tiny/io.npz")
    ours = EatInput()(torch.from_numpy(expected["waveform"])).mT.numpy()
    fbank = expected["fbank"][:, 0]
    assert ours.shape == (len(fbank), 208, 128)  # 198 frames, filled up to whole patches; there to 256
    np.testing.assert_allclose(ours, fbank[:, :208], atol=1e-4)
    assert np.unique(fbank[:, 198:]).size == 1


def test_the_shortest_input_fills_one_patch() -> None:
    for listen in (BeatsInput(), EatInput()):
        assert listen(torch.randn(2, listen.shortest_samples)).shape == (2, 128, 16)


def test_a_constant_offset_is_not_heard() -> None:
    waveforms = 0.1 * torch.randn(2, 8000)
    for listen in (BeatsInput(), EatInput()):
        torch.testing.assert_close(listen(waveforms + 0.25), listen(waveforms), atol=1e-2, rtol=0)
