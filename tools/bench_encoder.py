"""Training throughput of the multi-resolution encoder on made-up waveforms, in the loop that training uses.

    python tools/bench_encoder.py [encoder=multires_cnn] [batch=64] [duration_s=4.5] [steps=8] [epochs=6] [width=16]
        [part_losses=yes] [classes=60] [threads=2] [device=cpu] [precision=float32] [seed=0]

Each of `epochs` epochs is timed by the training loop itself, which cuts segments, mixes them up, takes the
spectra, steps forwards and backwards with one loss for all branches and, with `part_losses=yes`, one for each,
and updates the weights; it has `steps` batches of segments out of clips of 10 s. The first epoch warms up and
does not count. `encoder=resnet_se part_losses=no` is the public toolkit's network and loss.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch.nn.functional import one_hot
from torch.utils.flop_counter import FlopCounterMode

from asd.core.networks.encoder import Encoder
from asd.core.runtime import pick_device
from asd.core.trainer import train
from asd.data.recordings import Recordings, in_memory
from asd.detectors.encoders.build import build
from asd.detectors.encoders.recipe import Recipe
from asd.detectors.encoders.training import Discriminator
from asd.features.waveforms import ResidentWaveforms
from asd.options import Settings
from asd.settings.parsing import parse
from asd.types import AsdError, Clip, Split

SAMPLE_RATE_HZ = 16000
CLIP_SAMPLES = 10 * SAMPLE_RATE_HZ


class Training(Settings):
    """What is trained."""

    encoder: Literal["multires_cnn", "resnet_se"] = "multires_cnn"
    batch: int = 64
    duration_s: float = 4.5
    steps: int = Field(8, ge=1)
    epochs: int = Field(6, ge=2)  # the first one warms up
    width: int = 16
    part_losses: bool = True
    classes: int = 60
    threads: int = 2
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0


def main(arguments: Sequence[str]) -> int:
    """Measure what the command line asks for; return the exit status."""
    try:
        _measure(parse(Training, arguments))
    except AsdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def noise(n: int) -> Recordings:
    """Clips of noise, as many as an epoch draws."""
    waveforms = [0.1 * np.random.default_rng(i).standard_normal(CLIP_SAMPLES, dtype=np.float32) for i in range(n)]
    clip = Clip(Path("noise.wav"), "noise", "00", Split.TRAIN)
    return in_memory(waveforms, SAMPLE_RATE_HZ, [clip] * n)


def _measure(config: Training) -> None:
    device, batch, steps = pick_device(config.device), config.batch, config.steps
    torch.set_num_threads(config.threads)
    recipe = Recipe(
        segment_samples=round(config.duration_s * SAMPLE_RATE_HZ),
        batch_size=batch,
        **config.model_dump(include={"encoder", "part_losses", "width", "epochs", "precision"}),
    )
    torch.manual_seed(config.seed)
    network = build(recipe, SAMPLE_RATE_HZ)
    print(_size(network))
    module = Discriminator(network, config.classes, recipe).to(device)
    clips = noise(batch * steps)
    waveforms = ResidentWaveforms(clips, device, most_bytes=2**34)
    labels = one_hot(torch.arange(len(clips), device=device) % config.classes, config.classes).float()
    with tempfile.TemporaryDirectory() as folder:
        train(
            module,
            lambda rows: module(waveforms.random_segments(rows, recipe.segment_samples), labels[rows]),
            torch.arange(len(clips), device=device),
            recipe,
            Path(folder),
            seed=config.seed,
        )
        lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    times_s = [json.loads(line)["seconds"] / steps for line in lines][1:]
    print(
        f"{median(times_s):.3f} s ({min(times_s):.3f} to {max(times_s):.3f}) per step of {batch} clips of "
        f"{config.duration_s} s: {batch / median(times_s):.1f} clips per second"
    )


def _size(network: Encoder) -> str:
    """Parameters, and multiply-accumulates of one segment forwards, without the STFT."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, network.segment_samples))
    n_parameters = sum(p.numel() for p in network.parameters())
    return f"{n_parameters:,} parameters, {counter.get_total_flops() / 2e6:,.0f} million multiply-accumulates"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
