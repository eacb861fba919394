"""What a trained multimodal Transformer does: losses, gates, attention, withheld modalities, worst cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from asd.core.losses.multitask import MultiTask
from asd.core.networks.gated_fusion import MultimodalTransformer, TrackOutput
from asd.studies.config import Fusion
from asd.studies.fusion import training
from asd.studies.fusion.training import COLUMNS, TERMS, Batch
from asd.synthetic.tracks import BoolArray, IntArray, Sequences
from asd.types import AsdError

N_WORST = 5
_CHUNK = 64  # sequences at once: attention takes layers x heads x steps x steps of memory for each

PerSequence = dict[str, list[float]]


def on_complete(net: MultimodalTransformer, data: Batch, sequences: Sequences, config: Fusion) -> dict[str, Any]:
    """What is found on the test sequences that have all modalities, the same for every network."""
    losses, splits = training.build_losses(config.weights.model_dump()), training.split_indices(config)
    everything = torch.from_numpy(sequences.present.all((1, 2)))
    indices = splits["test"][everything[splits["test"]]]
    if len(indices) < 2:
        raise AsdError(
            f"{len(indices)} of {config.n_test} test sequences has all modalities at every step, too few to compare "
            "networks on; lower absent= and trouble=, or raise n_test="
        )
    device = data.present.device
    test = data.at(indices.to(device))
    guess = training.answer_frequencies(data.at(splits["training"].to(device)), (len(test), config.n_steps))
    found: dict[str, Any] = {
        "complete": score(losses, answers(net, test), test),
        "frequencies": means(score(losses, guess, test)),
    }
    if len(test.features) > 1:
        less = {name: test.withhold(name) for name in test.features}
        found["withheld"] = {name: means(score(losses, answers(net, rest), rest)) for name, rest in less.items()}
    return found


def on_all(net: MultimodalTransformer, data: Batch, sequences: Sequences, config: Fusion) -> dict[str, Any]:
    """What is found on all test sequences, with whatever they lack."""
    losses, indices = training.build_losses(config.weights.model_dump()), training.split_indices(config)["test"]
    test, seen = data.at(indices.to(data.present.device)), sequences.at(indices.numpy())
    given = answers(net, test)
    rows = score(losses, given, test)
    found = {
        "all": rows,
        "worst": worst_cases(rows, seen, indices.tolist()),
        "attention": attention_summary(net, test, seen.scene),
    }
    if given.gates is not None:
        found["gates"] = gate_contributions(net, test, given, {"audio": seen.music, "video": seen.dark})
        found["example"] = gate_example(given, seen, indices.tolist())
    return found


@torch.no_grad()
def answers(net: MultimodalTransformer, data: Batch) -> TrackOutput:
    """Answers of the network for sequences, in eval mode."""
    net.eval()
    given = [net(chunk.features, chunk.present) for chunk in map(data.at, _chunks(data))]
    parts: list[Any] = [None if part[0] is None else torch.cat(part) for part in zip(*given, strict=True)]
    return TrackOutput(*parts)


def score(losses: MultiTask, given: TrackOutput, data: Batch) -> PerSequence:
    """Total and terms of the loss, and shares of right decisions, of each sequence: {name: (n,)}.

    "active_right" is over all tracks and steps, "asset_right" over those where the track is active.
    """
    rows: PerSequence = {name: [] for name in COLUMNS}
    for one in torch.arange(len(data), device=data.present.device).split(1):
        batch = data.at(one)
        answer = TrackOutput(given.active[one], given.asset[one], given.numbers[one], None)
        found = training.losses_of(losses, answer, batch)
        active_right = ((training.active_logits(answer) > 0) == batch.active).float().mean()
        asset_right = (answer.asset.argmax(-1) == batch.asset.argmax(-1))[batch.active].float().mean().nan_to_num(1.0)
        for name, value in zip(COLUMNS, (found.total, *found.terms.values(), active_right, asset_right), strict=True):
            rows[name].append(float(value))
    return rows


def means(rows: PerSequence) -> dict[str, float]:
    """Mean of each column over the sequences, which all count the same."""
    return {name: sum(values) / len(values) for name, values in rows.items()}


def coverage(sequences: Sequences) -> dict[str, dict[str, float]]:
    """For each modality the share of steps with it, of sequences with it throughout, and of its NaN values."""
    found = {}
    for i, (name, x) in enumerate(sequences.features.items()):
        present = sequences.present[..., i]
        unknown = float(np.isnan(x[present]).mean()) if present.any() else 0.0
        found[name] = {"steps": float(present.mean()), "sequences": float(present.all(1).mean()), "nan_values": unknown}
    return found


@torch.no_grad()
def gate_contributions(
    net: MultimodalTransformer, data: Batch, given: TrackOutput, troubles: dict[str, BoolArray]
) -> dict[str, dict[str, float]]:
    """How far the gates are open, and what part of the fused vector comes through each.

    A modality's input is not to be trusted where its trouble (n, steps) is True.

    Returns:
        For each modality "open", the mean gate over steps with it; "share", its part of the length of the gated
        embeddings at steps with all modalities; and where it has a trouble at times, "open_trouble" and
        "open_else".
    """
    assert given.gates is not None
    here = data.present
    gates = given.gates.mean(-1)
    lengths = torch.stack(
        [
            (given.gates[..., i, :] * embed(data.features[name].nan_to_num())).norm(dim=-1)
            for i, (name, embed) in enumerate(net.fusion.embed.items())
        ],
        -1,
    )
    shares = (lengths / lengths.sum(-1, keepdim=True))[here.all(-1)].mean(0)
    found = {}
    for i, name in enumerate(data.features):
        gate, present = gates[..., i], here[..., i]
        found[name] = {"open": float(gate[present].mean()), "share": float(shares[i])}
        if name in troubles:
            bad = torch.from_numpy(troubles[name]).to(present.device) & present
            if bad.any() and (present & ~bad).any():
                found[name]["open_trouble"] = float(gate[bad].mean())
                found[name]["open_else"] = float(gate[present & ~bad].mean())
    return found


def gate_example(given: TrackOutput, sequences: Sequences, numbers: list[int]) -> dict[str, Any]:
    """Mean gate of each modality along the sequence with the most kinds of trouble: gaps, music, darkness."""
    assert given.gates is not None
    gaps = (~sequences.present).any(1) & sequences.present.any(1)
    i = int((gaps.sum(1) + sequences.music.any(1) + sequences.dark.any(1)).argmax())
    return {
        "sequence": numbers[i],
        "gates": {name: given.gates[i, :, k].mean(-1).tolist() for k, name in enumerate(sequences.features)},
        **{name: getattr(sequences, name)[i].tolist() for name in ("music", "dark", "cut")},
    }


@torch.no_grad()
def attention_summary(net: MultimodalTransformer, data: Batch, scenes: IntArray) -> dict[str, Any]:
    """Where each layer looks, over all heads; scenes are (n, steps).

    Returns:
        "layers": for each "own" (weight of a step on itself), "distance" (mean number of steps that it looks
        away), "same_scene" (weight on steps of its own scene) and "map" of mean weights (steps, steps);
        "uniform": the same numbers of a layer that looks everywhere alike.
    """
    scene = torch.from_numpy(scenes).to(data.present.device)
    steps = torch.arange(scene.shape[1], device=scene.device)
    apart = (steps[:, None] - steps).abs().float()
    same = (scene[:, :, None] == scene[:, None, :]).float()
    sums = torch.zeros(len(net.encoder.layers), len(steps), len(steps), device=scene.device)
    within = torch.zeros(len(net.encoder.layers), device=scene.device)
    for part in _chunks(data):
        chunk = data.at(part)
        weights = net.attention(chunk.features, chunk.present).mean(2)
        sums += weights.sum(1)
        within += (weights * same[part]).sum(-1).mean(-1).sum(-1)
    maps, within = sums / len(data), within / len(data)
    layers = [
        {
            "own": float(weights.diagonal().mean()),
            "distance": float((weights * apart).sum(-1).mean()),
            "same_scene": float(inside),
            "map": [[round(float(w), 5) for w in row] for row in weights],
        }
        for weights, inside in zip(maps, within, strict=True)
    ]
    uniform = {"own": 1 / len(steps), "distance": float(apart.mean()), "same_scene": float(same.mean())}
    return {"layers": layers, "uniform": uniform}


def worst_cases(rows: PerSequence, sequences: Sequences, numbers: list[int]) -> list[dict[str, Any]]:
    """The sequences with the highest loss, its largest term, and what was the matter with them."""
    order = sorted(range(len(numbers)), key=lambda i: -rows["total"][i])[:N_WORST]
    return [
        {
            "sequence": numbers[i],
            **{name: rows[name][i] for name in ("total", *TERMS)},
            "largest": max(TERMS, key=lambda name: rows[name][i] / (sum(rows[name]) or 1.0)),
            "present": {name: float(sequences.present[i, :, k].mean()) for k, name in enumerate(sequences.features)},
            "music_steps": int(sequences.music[i].sum()),
            "dark_steps": int(sequences.dark[i].sum()),
            "cuts": int(sequences.cut[i].sum()),
            "active": float(sequences.active[i].mean()),
        }
        for i in order
    ]


def _chunks(data: Batch) -> tuple[torch.Tensor, ...]:
    return torch.arange(len(data), device=data.present.device).split(_CHUNK)
