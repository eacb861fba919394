from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.core.networks.encoder import Convolution, HalvingConvolution


@settings(max_examples=40)
@given(bands=st.integers(7, 40), frames=st.integers(7, 40), stride=st.integers(1, 2), padding=st.integers(0, 3))
def test_faster_convolutions_are_torchs_own(bands: int, frames: int, stride: int, padding: int) -> None:
    """Values and gradients; ours get frames by bands, with kernels kept as bands by frames."""
    torch.manual_seed(bands)
    for ours, n_in in ((HalvingConvolution(4, padding), 1), (Convolution(3, 4, stride), 3)):
        plain = torch.nn.Conv2d(n_in, 4, ours.kernel_size, ours.stride, ours.padding, bias=False).double()  # type: ignore[arg-type]
        plain.load_state_dict(ours.double().state_dict())
        x = torch.randn(2, n_in, bands, frames, dtype=torch.float64, requires_grad=True)
        expected, got = plain(x), ours(x.mT).mT
        torch.testing.assert_close(got, expected)
        weight = torch.randn_like(expected)
        (wanted,) = torch.autograd.grad((expected * weight).sum(), x, retain_graph=True)
        (found,) = torch.autograd.grad((got * weight).sum(), x, retain_graph=True)
        torch.testing.assert_close(found, wanted)
        (expected * weight).sum().backward()
        (got * weight).sum().backward()
        torch.testing.assert_close(ours.weight.grad, plain.weight.grad)
