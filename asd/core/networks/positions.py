"""Where in a sequence a vector stands: the fixed sinusoids of the Transformer, without parameters.

Source: Vaswani et al., "Attention is all you need", 2017, section 3.5.
"""

from __future__ import annotations

import math

import torch


def sinusoids(n_steps: int, n_dims: int, like: torch.Tensor) -> torch.Tensor:
    """Position codes (n_steps, n_dims), sines in the even columns and cosines in the odd ones.

    The wavelengths run from 2 pi to 10000 x 2 pi steps. Computed in float32, returned in the type and on
    the device of `like`.

    Args:
        n_steps: length of the sequence.
        n_dims: length of a code, even.
        like: a tensor of the wanted type and device.
    """
    step = torch.arange(n_steps, device=like.device, dtype=torch.float32)
    pair = torch.arange(0, n_dims, 2, device=like.device, dtype=torch.float32)
    angle = step[:, None] * torch.exp(pair * (-math.log(10000.0) / n_dims))
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1)[:, :n_dims].to(like.dtype)
