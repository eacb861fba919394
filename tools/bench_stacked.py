"""The autoencoders of several machines one by one against all of them as one stacked network: a Markdown table.

    python tools/bench_stacked.py [machines=7] [batch=256] [steps=40] [rounds=3] [device=cpu] [threads=1]

Both sides start with the same weights, see the same windows (made up) in the same order, and step by Adam.
Stacked, each layer is one batched product (machines, outputs, inputs) x (machines, inputs, batch), and batch
normalisation takes machines x outputs as its channels, so no machine sees another. The sides are timed in turn.
Operations are what torch's profiler lists for one step of all machines, without views: on a GPU most are launches.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.functional import batch_norm, mse_loss
from torch.profiler import ProfilerActivity, profile

from asd.core.networks.autoencoder import MLPAutoencoder
from asd.core.runtime import keep_freed_memory

USUAL = {"machines": "7", "batch": "256", "steps": "40", "rounds": "3", "device": "cpu", "threads": "1"}
N_INPUTS = 640
Step = Callable[[torch.Tensor], torch.Tensor]  # windows (machines, batch, inputs) -> losses (machines,)


class Stacked(nn.Module):
    """Autoencoders of one shape side by side.

    Args:
        members: their weights are copied.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        tensors = zip(*(member.parameters() for member in members), strict=True)
        self.weights = nn.ParameterList([torch.stack([t.detach() for t in same]) for same in tensors])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstructions of x, (machines, batch, inputs)."""
        x, (*hidden, weight, bias) = x.transpose(1, 2), self.weights
        for product, shift, scale, level in zip(*[iter(hidden)] * 4, strict=True):
            x = torch.baddbmm(shift[..., None], product, x)
            channels = x.flatten(0, 1)[None]  # one item of machines x outputs, each with a batch of values
            normalised = batch_norm(channels, None, None, scale.flatten(), level.flatten(), True, eps=1e-3)
            x = normalised.view_as(x).relu()
        return torch.baddbmm(bias[..., None], weight, x).transpose(1, 2)


def main(arguments: Sequence[str]) -> int:
    """Measures what the command line asks for; returns the exit status."""
    words = USUAL | dict(word.split("=", 1) for word in arguments)
    n_machines, batch, steps, rounds = (int(words[key]) for key in ("machines", "batch", "steps", "rounds"))
    torch.set_num_threads(int(words["threads"]))
    keep_freed_memory()
    torch.manual_seed(0)
    windows = torch.randn(steps, n_machines, batch, N_INPUTS, device=words["device"])
    members = [MLPAutoencoder(N_INPUTS).to(words["device"]) for _ in range(n_machines)]
    stack = Stacked(members).to(words["device"])
    sides = {"one by one": _one_by_one(members), "stacked": _as_one(stack)}
    found: dict[str, torch.Tensor] = {}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    first = {name: step(windows[0])[None] for name, step in sides.items()}
    operations = {name: _operations(step, windows[0]) for name, step in sides.items()}
    for _ in range(rounds):
        for name, step in sides.items():
            started_s = _now_s(words["device"])
            found[name] = torch.stack([step(x) for x in windows])
            seconds[name].append((_now_s(words["device"]) - started_s) / steps)
    print("| side | ms a step of all machines, each round | operations a step |\n|---|---|---|")
    for name in sides:
        times = ", ".join(f"{1000 * s:.1f}" for s in seconds[name])
        print(f"| {name} | {times} | {operations[name]:,} |")
    ratio = min(seconds["stacked"]) / min(seconds["one by one"])
    print(
        f"\nratio {ratio:.2f}; losses differ by {_apart(first):.1e} in the first step, {_apart(found):.1e} in the last"
    )
    return 0


def _one_by_one(members: Sequence[nn.Module]) -> Step:
    optimizers = [torch.optim.Adam(member.parameters(), fused=True) for member in members]

    def step(windows: torch.Tensor) -> torch.Tensor:
        losses = []
        for member, optimizer, x in zip(members, optimizers, windows, strict=True):
            optimizer.zero_grad()
            loss = mse_loss(member(x), x)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    return step


def _as_one(stack: Stacked) -> Step:
    optimizer = torch.optim.Adam(stack.parameters(), fused=True)

    def step(windows: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        losses = (stack(windows) - windows).square().mean((1, 2))
        losses.sum().backward()
        optimizer.step()
        return losses.detach()

    return step


def _operations(step: Step, windows: torch.Tensor) -> int:
    """Operations of torch in a step, but for views of memory."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step(windows)
    views = ("view", "transpose", "reshape", "expand", "as_strided", "select", "unbind", "detach", "empty", "t")
    names = [event.name for event in profiled.events() if event.name.startswith("aten::")]
    return sum(name.removeprefix("aten::") not in views for name in names)


def _apart(losses: dict[str, torch.Tensor]) -> float:
    """Largest relative difference of the losses (steps, machines) of both sides in the last of the steps."""
    one, other = (side[-1] for side in losses.values())
    return float(((one - other) / one).abs().max())


def _now_s(device: str) -> float:
    """CPU seconds of this process where it computes; the clock, once all is done, where a GPU does."""
    if not device.startswith("cuda"):
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
