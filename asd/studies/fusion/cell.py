"""One experiment of the fusion study: a network trained, scored and looked into."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import torch

from asd.core.checkpoint import save_tensors
from asd.core.networks.gated_fusion import MultimodalTransformer
from asd.core.runtime import MetricsLog, fingerprint, pick_device
from asd.core.trainer import interrupted
from asd.studies.config import Fusion
from asd.studies.fusion import analysis
from asd.studies.fusion.tracks import MODALITIES, Sequences, make_sequences
from asd.studies.fusion.training import (
    Batch,
    answer_frequencies,
    build_losses,
    build_network,
    fit,
    layout_of,
    measure_scales,
    prepare,
    split_indices,
    train_settings,
    usable,
)
from asd.types import AsdError


def run_cell(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Trains a network and finds out what it does; resumes where it was stopped.

    Args:
        settings: "fusion", "modalities", "seed", and "study", the words of the study.
        folder: receives metrics.jsonl and weights.safetensors.

    Returns:
        "parameters", "n_training", "best_epoch", "epochs" (one dictionary each), "seconds", "complete" (losses of
        each test sequence with all modalities), "frequencies" (what is lost there without looking), "coverage";
        of a network with all modalities also "withheld", "all" (losses of every test sequence), "worst",
        "attention", and "gates" and "example" where it has gates.

    Raises:
        AsdError: too few sequences with one of the modalities, or settings that the network refuses.
    """
    started = time.perf_counter()
    config, modalities, seed = (
        Fusion.model_validate(settings["study"]), settings["modalities"], settings["seed"]
    )  # fmt: skip
    if interrupted(folder) not in (None, fingerprint(settings)):
        shutil.rmtree(folder)  # left by a study with other settings
    device, splits = pick_device(config.device), split_indices(config)
    sequences = make_sequences(layout_of(config), config.data_seed, range(sum(map(len, splits.values()))))
    scales = measure_scales(sequences, config.n_train)
    data = prepare(sequences, scales, modalities, config.n_assets, device)
    net = build_network(config, modalities, settings["fusion"], seed).to(device)
    n_training = len(usable(data, splits["training"], "training"))
    result = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "n_training": n_training,
        "best_epoch": fit(net, data, config, seed, folder, fingerprint(settings)),
        "epochs": _epochs(folder, config, n_training),
        "coverage": {
            name: analysis.coverage(sequences.at(indices.numpy())) for name, indices in splits.items()
        },
        **_on_complete(net, data, sequences, config),
    }
    if len(modalities) == len(MODALITIES):
        result |= _on_all(net, data, sequences, config)
    save_tensors(folder / "weights.safetensors", net.state_dict())
    (folder / "state.safetensors").unlink(missing_ok=True)
    return result | {"seconds": time.perf_counter() - started}


def _on_complete(
    net: MultimodalTransformer, data: Batch, sequences: Sequences, config: Fusion
) -> dict[str, Any]:
    """What is found on the test sequences that have all modalities, the same for every network."""
    losses, splits = build_losses(config.weights.model_dump()), split_indices(config)
    everything = torch.from_numpy(sequences.present.all((1, 2)))
    indices = splits["test"][everything[splits["test"]]]
    if len(indices) < 2:
        raise AsdError(
            f"{len(indices)} of {config.n_test} test sequences has all modalities at every step, too few to compare "
            "networks on; lower absent= and trouble=, or raise n_test="
        )
    device = data.present.device
    test = data.at(indices.to(device))
    guess = answer_frequencies(data.at(splits["training"].to(device)), (len(test), config.n_steps))
    found: dict[str, Any] = {
        "complete": analysis.score(losses, analysis.say(net, test), test),
        "frequencies": analysis.means(analysis.score(losses, guess, test)),
    }
    if len(test.features) > 1:
        found["withheld"] = {}
        for name in test.features:
            less = test.withhold(name)
            found["withheld"][name] = analysis.means(analysis.score(losses, analysis.say(net, less), less))
    return found


def _on_all(net: MultimodalTransformer, data: Batch, sequences: Sequences, config: Fusion) -> dict[str, Any]:
    """What is found on all test sequences, with whatever they lack."""
    losses, indices = build_losses(config.weights.model_dump()), split_indices(config)["test"]
    test, seen = data.at(indices.to(data.present.device)), sequences.at(indices.numpy())
    said = analysis.say(net, test)
    rows = analysis.score(losses, said, test)
    found = {
        "all": rows,
        "worst": analysis.worst_cases(rows, seen, indices.tolist()),
        "attention": analysis.attention_summary(net, test, seen.scene),
    }
    if said.gates is not None:
        troubles = {"audio": seen.music, "video": seen.dark}
        found["gates"] = analysis.gate_contributions(net, test, said, troubles)
        found["example"] = analysis.gate_example(said, seen, indices.tolist())
    return found


def _epochs(folder: Path, config: Fusion, n_training: int) -> list[dict[str, float]]:
    """Losses of every epoch, with the learning rate at its end."""
    settings = train_settings(config)
    n_batches = n_training // config.batch_size + (n_training % config.batch_size > 1)
    rows = MetricsLog(folder / "metrics.jsonl", keep=config.epochs).read()
    return [
        {
            **row,
            "learning_rate": settings.learning_rate_at((k + 1) * n_batches - 1, config.epochs * n_batches),
        }
        for k, row in enumerate(rows)
    ]
