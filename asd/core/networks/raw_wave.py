"""One-dimensional CNNs on the waveform itself, in seven designs for spoken words.

    waveform (batch, 16000) ─ [conv, (BN), ReLU, (max pool)] x n ─ flatten ─► features
                            ─ dropout ─ dense ─► logits (batch, 16)

| design        | convolutions               | pool | features      | parameters | accuracy there |
|---------------|----------------------------|------|---------------|------------|----------------|
| `base`        | 8 16 32 64 128, 25 wide    | 4    | 8 x 128       | 1,855,056  | 0.9090-0.9240  |
| `ch32`        | 32 x 4, 64 x 4, 5 wide     | 3    | 7 x 64        |    94,768  | 0.9533         |
| `ch64`        | 64 x 4, 128 x 4, 5 wide    | 3    | 7 x 128       |   363,600  | 0.9589         |
| `vgg`         | 64 x 8, 128 x 8, 3 wide    | 3    | 7 x 128       |   470,736  | 0.9620         |
| `ch128`       | 128 x 4, 256 x 4, 512, BN  | 3    | 2 x 512       | 2,071,184  | 0.9701         |
| `features32`  | 64 x 4, 32 x 4, 16, BN     | 3    | 2 x 16 = 32   |    91,712  | 0.9327         |
| `features128` | 256 x 4, 128 x 4, 64       | 3    | 2 x 64 = 128  | 1,438,544  | 0.9628         |

Only `ch32` is printed there layer by layer. The others are inferred from their number of convolutions,
kernel, last width, feature length and parameter count, which each reproduces:
    - `ch64` and `ch128` are the only lists of non-decreasing powers of two that give the count; `ch128`
      counts the scale and shift of batch normalisation, not its running statistics;
    - `features128` fits exactly, the channels falling instead of growing;
    - `vgg` has two convolutions a block and seven poolings; the "8 Pool" of the slide would leave 2 x 128
      features and 460,496 parameters;
    - `features32` reaches its count only with a batch normalisation of the 32 features as well (+64);
    - `base` reads "5 Conv, 2 FC" as unpadded convolutions, a pooling after each that keeps the ragged end,
      and two hidden dense layers of 1024 and 512: it fits exactly, though other lists might.
Dropout is the rate named there with the best figure (0.5, the default there, for the feature extractors),
read as Keras does: the part that is dropped. Weights start as He et al. (2015) draw them, biases at zero:
with torch's own start, waveforms hardly differ any more (1e-6) after the eight layers of `ch32`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from asd.types import AsdError


@dataclass(frozen=True, slots=True)
class RawWaveDesign:
    """What distinguishes one raw-waveform CNN from another; lengths in samples of the layer's input."""

    channels: tuple[int, ...]  # of each convolution
    kernel: int  # odd where padded
    pool: int = 3
    convolutions_per_pool: int = 1
    pool_first: bool = False  # also after the first (block of) convolutions
    padded: bool = True  # convolutions keep the length, pooling drops the ragged end; False: the reverse
    batch_norm: bool = False  # after every convolution
    feature_norm: bool = False  # batch normalisation of the flattened features
    hidden: tuple[int, ...] = ()  # dense layers between features and logits
    dropout: float = 0.5  # of what enters the last dense layer
    first_kernel: int | None = None  # of the first convolution, where it is another one
    stride: int = 1  # of the first convolution


DESIGNS = {
    "base": RawWaveDesign((8, 16, 32, 64, 128), 25, pool=4, pool_first=True, padded=False, hidden=(1024, 512)),
    "ch32": RawWaveDesign((32,) * 4 + (64,) * 4, 5, dropout=0.75),
    "ch64": RawWaveDesign((64,) * 4 + (128,) * 4, 5, dropout=0.75),
    "vgg": RawWaveDesign((64,) * 8 + (128,) * 8, 3, convolutions_per_pool=2, dropout=0.75),
    "ch128": RawWaveDesign((128,) * 4 + (256,) * 4 + (512,), 5, batch_norm=True, dropout=0.25),
    "features32": RawWaveDesign((64,) * 4 + (32,) * 4 + (16,), 5, batch_norm=True, feature_norm=True),
    "features128": RawWaveDesign((256,) * 4 + (128,) * 4 + (64,), 5),
}


class RawWaveCNN(nn.Module):
    """A waveform of fixed length to logits, or to the features before them.

    `AsdError` for a waveform too short for the convolutions and poolings.
    """

    def __init__(self, design: RawWaveDesign = DESIGNS["ch32"], n_classes: int = 16, n_samples: int = 16000) -> None:
        super().__init__()
        self.n_samples = n_samples
        self.blocks, n_steps = _blocks(design, n_samples)
        self.n_features = design.channels[-1] * n_steps
        self.feature_norm = nn.BatchNorm1d(self.n_features) if design.feature_norm else nn.Identity()
        widths = (self.n_features, *design.hidden)
        head = [layer for n_in, n_out in pairwise(widths) for layer in (nn.Linear(n_in, n_out), nn.ReLU())]
        self.head = nn.Sequential(*head, nn.Dropout(design.dropout), nn.Linear(widths[-1], n_classes))
        self.apply(_start)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes) of waveforms (batch, n_samples); other lengths and numbers of axes are refused."""
        return self.head(self.features(waveforms))

    def features(self, waveforms: torch.Tensor) -> torch.Tensor:
        """The flattened last activation map (batch, n_features), channel by channel, for another classifier."""
        return self.feature_norm(self.activation_maps(waveforms)[-1].flatten(1))

    def activation_maps(self, waveforms: torch.Tensor) -> list[torch.Tensor]:
        """What every block gives: (batch, channels, steps) after its ReLU and pooling, first block first."""
        if waveforms.dim() != 2 or waveforms.shape[1] != self.n_samples:
            raise AsdError(
                f"a network for waveforms (batch, {self.n_samples}) received the shape "
                f"{tuple(waveforms.shape)}; cut or pad the clips, or build it with that n_samples"
            )
        x, maps = waveforms.unsqueeze(1), []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps


def _blocks(design: RawWaveDesign, n_samples: int) -> tuple[nn.Sequential, int]:
    """The convolutions with what follows each, and how many steps they leave of a waveform."""
    blocks: list[nn.Module] = []
    n_in, n_steps = 1, n_samples
    for i, n_out in enumerate(design.channels, start=1):
        kernel = design.first_kernel if i == 1 and design.first_kernel else design.kernel
        stride = design.stride if i == 1 else 1
        padding = kernel // 2 if design.padded else 0
        layers: list[nn.Module] = [nn.Conv1d(n_in, n_out, kernel, stride, padding)]
        n_in, n_steps = n_out, (n_steps + 2 * padding - kernel) // stride + 1
        if design.batch_norm:
            layers.append(nn.BatchNorm1d(n_out))
        layers.append(nn.ReLU())
        ends_block = i % design.convolutions_per_pool == 0
        if ends_block and (design.pool_first or i > design.convolutions_per_pool):
            layers.append(nn.MaxPool1d(design.pool, ceil_mode=not design.padded))
            n_steps = n_steps // design.pool if design.padded else -(-n_steps // design.pool)
        blocks.append(nn.Sequential(*layers))
        if n_steps < 1:
            raise AsdError(
                f"n_samples={n_samples} is too short: nothing is left after convolution {i} of "
                f"{len(design.channels)}; use longer waveforms or a design with less pooling"
            )
    return nn.Sequential(*blocks), n_steps


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv1d | nn.Linear):
        nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
