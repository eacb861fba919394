"""The digits study: a CNN on the waveform itself learns spoken words, from speakers who are known or who are not.

Every speaker is left out once, and once the first recordings of everybody are; over several seeds. Then the study
shows what the networks confuse, how other classifiers do on their features, and how one of them works, after the
slides "Audio Classification" that report a 1D-CNN on Speech Commands.
"""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch.nn.functional import one_hot

from asd.core.checkpoint import load_into
from asd.core.files import load_tensors, save_tensors
from asd.core.losses.cells import SoftCrossEntropy
from asd.core.networks.raw_wave import DESIGNS, RawWaveCNN, RawWaveDesign
from asd.core.runtime import fingerprint, pick_device
from asd.core.trainer import train
from asd.evaluation.explain import hz_to_mel, mel_to_hz
from asd.features.augment import draw_mixup, mixup
from asd.options import TrainSettings
from asd.places import mirrored, spelled
from asd.runs import TrainingDirectory
from asd.studies.config import Digits
from asd.studies.digits.inspection import first_filters, inspect_network
from asd.studies.digits.page import headline, summarise, write_report
from asd.studies.digits.recordings import KNOWN, Words, draw_perturbation, load_words, perturb
from asd.studies.grid import chosen, run_grid
from asd.types import one_of

SMALL = RawWaveDesign(
    (32, 64, 64, 96, 64),
    9,
    first_kernel=65,
    stride=4,
    pool=4,
    pool_first=True,
    batch_norm=True,
    hidden=(32,),
    dropout=0.2,
)
"""Fast enough for a CPU: 65 taps separate frequencies that 5 do not, and after a stride and a pooling by 4
each, a sixteenth of the samples is left to the other layers, as in Dai et al., "Very deep convolutional neural
networks for raw waveforms", ICASSP 2017. 2 x 4^6 = 8192 samples, 1.024 s at 8 kHz, become 2 steps of 64 channels,
128 features as in `features128`, and a dense layer makes 32 of them."""

IntArray = npt.NDArray[np.int64]

NETWORKS = {"small": SMALL, **DESIGNS}

_BATCH = 256  # recordings looked at together where nothing is learnt


def run(config: Digits) -> str:
    """Runs what is missing of the study and writes its page; returns the headline."""
    folder = config.runs / "digits" / config.network
    words = load_words(config.data, config, pick_device("cpu"))
    net = build_network(config, len(words.classes), seed=0)  # refuses now what every cell would refuse
    work = partial(run_cell, data=spelled(str(config.data)), device=config.device)
    results = run_grid(cells(config, words), work, folder, config, "digits study")
    summary = summarise(results, config, words.classes)
    path = folder / KNOWN / f"seed{config.seeds[0]}" / "weights.safetensors"
    load_into(net, load_tensors(path)[0], path)
    examples = inspect_network(net, words, words.split(KNOWN, config.n_known_test)[1])
    write_report(folder, summary, first_filters(net, config.sample_rate_hz), examples)
    return (
        f"{headline(summary)}\nReport: {folder / 'report.md'}, tables in *.csv, all numbers in report.json, figures "
        f"in *.png; a network's epochs lie in {folder}/<split>/seed<k>/metrics.jsonl"
    )


def cells(config: Digits, words: Words) -> dict[str, dict[str, Any]]:
    """Settings of every experiment by its folder: known speakers, then each speaker left out."""
    splits = [KNOWN, *chosen(config.held_out, words.names, "held_out")]
    for split in splits:
        words.split(split, config.n_known_test)
    shared = {"recordings": words.fingerprint, "study": config.settings()}
    return {split: {"split": split, **shared} for split in splits}


def run_cell(settings: dict[str, Any], folder: Path, *, data: str, device: str) -> dict[str, Any]:
    """Trains a network and tests it; resumes where it was stopped.

    Settings are "split" (`recordings.Words.split`), "seed", "study" (words that decide the result) and "recordings"
    (their hash); these lie in `data` today. The folder receives metrics.jsonl and weights.safetensors.

    Returns:
        "confusion" (classes, classes) of the network, rows actual; "classifiers": by length of the features and
        name of the classifier, how many test recordings it calls rightly; "n_train", "n_test", "parameters",
        "seconds".
    """
    started = time.perf_counter()
    config, known_as = Digits.model_validate(settings["study"]), fingerprint(settings)
    TrainingDirectory(folder).make_way(known_as, overwrite=True)
    words = load_words(mirrored(data), config, pick_device(device))
    learnt, tested = words.split(settings["split"], config.n_known_test)
    net = build_network(config, len(words.classes), settings["seed"]).to(words.waveforms.device)
    fit(net, words, learnt, config, settings["seed"], folder, known_as)
    logits, features = predict(net, words.waveforms)
    labels, called = words.labels.cpu().numpy(), logits.argmax(1).cpu().numpy()
    of_train, of_test = learnt.cpu().numpy(), tested.cpu().numpy()
    confusion = confusion_matrix(labels[of_test], called[of_test], labels=range(len(words.classes)))
    result = {
        "confusion": confusion.tolist(),
        "classifiers": {size: classify(x.cpu().numpy(), labels, of_train, of_test) for size, x in features.items()},
        "n_train": len(of_train),
        "n_test": len(of_test),
        "parameters": sum(p.numel() for p in net.parameters()),
    }
    save_tensors(folder / "weights.safetensors", net.state_dict())
    TrainingDirectory(folder).end_training()
    return result | {"seconds": time.perf_counter() - started}


def classify(features: npt.NDArray[np.float32], labels: IntArray, train: IntArray, test: IntArray) -> dict[str, int]:
    """How many recordings `test` each classifier calls rightly that learnt from the recordings `train`.

    Every feature (recordings, n) is brought to mean 0 and spread 1. The settings are scikit-learn's own, five
    neighbours and C = 1, and not tuned.
    """
    right = {}
    kinds = {"k-NN": KNeighborsClassifier(), "logistic regression": LogisticRegression(max_iter=1000), "SVM": SVC()}
    for name, kind in kinds.items():
        classifier = make_pipeline(StandardScaler(), kind).fit(features[train], labels[train])
        right[name] = int((classifier.predict(features[test]) == labels[test]).sum())
    return right


def build_network(config: Digits, n_classes: int, seed: int) -> RawWaveCNN:
    """The network with its first weights."""
    design = NETWORKS[one_of(config.network, tuple(NETWORKS), "network")]
    torch.manual_seed(seed)
    net = RawWaveCNN(design, n_classes, round(config.duration_s * config.sample_rate_hz))
    if config.tuned:
        first = next(layer for layer in net.modules() if isinstance(layer, torch.nn.Conv1d))
        n_filters, _, n_taps = first.weight.shape
        with torch.no_grad():
            first.weight[:, 0] = band_passes(n_filters, n_taps, config.sample_rate_hz)
    return net


def band_passes(n_filters: int, n_taps: int, sample_rate_hz: int) -> torch.Tensor:
    """Filters (n_filters, n_taps) of length 1: Hann windows over cosines of any phase, spaced on the mel scale.

    A network that starts with them need not find out from a few thousand words that there are frequencies.

    Source: Sainath et al., "Learning the speech front-end with raw waveform CLDNNs", Interspeech 2015.
    """
    mels = np.linspace(0.0, float(hz_to_mel(sample_rate_hz / 2)), n_filters + 2)[1:-1]
    frequencies_hz = torch.from_numpy(mel_to_hz(mels)).float()
    times_s = (torch.arange(n_taps) - (n_taps - 1) / 2) / sample_rate_hz
    phases = 2 * math.pi * torch.rand(n_filters, 1)
    waves = torch.cos(2 * math.pi * frequencies_hz[:, None] * times_s + phases)
    windowed = waves * torch.hann_window(n_taps + 2, periodic=False)[1:-1]
    return windowed / windowed.norm(dim=1, keepdim=True)


def fit(
    net: RawWaveCNN, words: Words, indices: torch.Tensor, config: Digits, seed: int, folder: Path, fingerprint: str
) -> None:
    """Trains the network on the recordings `indices` (n,), each time with another speed, filter and noise.

    Every epoch is run and the last weights stay: no recording is spent on choosing, and none of the test is seen.
    """
    targets = one_hot(words.labels, len(words.classes)).float()
    if config.label_smoothing:
        targets = targets * (1 - config.label_smoothing) + config.label_smoothing / len(words.classes)
    loss = SoftCrossEntropy()

    def step(batch: torch.Tensor) -> torch.Tensor:
        drawn = draw_perturbation(len(batch), words.waveforms.shape[1], config)
        perturbed = perturb(words.waveforms[batch], drawn)
        mixing = draw_mixup(len(batch), config.mixup)
        return loss(net(mixup(perturbed, mixing)), mixup(targets[batch], mixing))

    settings = TrainSettings(**config.own(TrainSettings), warmup=0.1, schedule="cosine")
    train(net, step, indices, settings, folder, seed=seed, fingerprint=fingerprint, label="digits")


@torch.no_grad()
def predict(net: RawWaveCNN, waveforms: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits (recordings, classes), and what another classifier may start from, by its length.

    The features are the flattened last activation map, and each hidden dense layer after it: (recordings, n).
    """
    net.eval()
    logits: list[torch.Tensor] = []
    features: dict[str, list[torch.Tensor]] = {}
    for part in waveforms.split(_BATCH):
        x = net.features(part)
        found = [x]
        for layer in net.head:
            x = layer(x)
            if isinstance(layer, torch.nn.ReLU):
                found.append(x)
        logits.append(x)
        for values in found:
            features.setdefault(f"{values.shape[1]}", []).append(values)
    return torch.cat(logits), {name: torch.cat(values) for name, values in features.items()}
