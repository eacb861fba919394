"""One experiment of the digits study: a network trained on one split, and its features in other classifiers."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asd.core.checkpoint import save_tensors
from asd.core.runtime import fingerprint, pick_device
from asd.core.trainer import interrupted
from asd.evaluation.classification import confusion_matrix
from asd.studies.config import Digits
from asd.studies.digits.data import load_words
from asd.studies.digits.training import build_network, fit, listen

CLASSIFIERS = ("k-NN", "logistic regression", "SVM")

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def run_cell(settings: dict[str, Any], folder: Path, *, data: Path, device: str) -> dict[str, Any]:
    """Trains a network and tests it; resumes where it was stopped.

    Args:
        settings: "split" (`data.Words.split`), "seed", "study" (words that decide the result), "recordings"
            (their hash).
        folder: receives metrics.jsonl and weights.safetensors.
        data: folder of the recordings, wherever it lies today.
        device: name of the device.

    Returns:
        "confusion" (classes, classes) of the network, rows actual; "classifiers": by length of the features and
        name of the classifier, how many test recordings it calls rightly; "n_train", "n_test", "parameters",
        "seconds".

    Raises:
        AsdError: recordings that cannot be used, or settings that the network refuses.
    """
    started = time.perf_counter()
    config, known_as = Digits.model_validate(settings["study"]), fingerprint(settings)
    if interrupted(folder) not in (None, known_as):
        shutil.rmtree(folder)  # left by a study with other settings
    words = load_words(data, config.sample_rate_hz, config.duration_s, pick_device(device))
    learnt, tested = words.split(settings["split"], config.n_known_test)
    net = build_network(config, len(words.classes), settings["seed"]).to(words.waveforms.device)
    fit(net, words, learnt, config, settings["seed"], folder, known_as)
    heard, features = listen(net, words.waveforms)
    labels = words.labels.cpu().numpy()
    train, test = learnt.cpu().numpy(), tested.cpu().numpy()
    result = {
        "confusion": confusion_matrix(
            labels[test], heard.argmax(1).cpu().numpy()[test], len(words.classes)
        ).tolist(),
        "classifiers": {size: classify(x.cpu().numpy(), labels, train, test) for size, x in features.items()},
        "n_train": len(train),
        "n_test": len(test),
        "parameters": sum(p.numel() for p in net.parameters()),
    }
    save_tensors(folder / "weights.safetensors", net.state_dict())
    (folder / "state.safetensors").unlink(missing_ok=True)
    return result | {"seconds": time.perf_counter() - started}


def classify(features: FloatArray, labels: IntArray, train: IntArray, test: IntArray) -> dict[str, int]:
    """How many recordings `test` each classifier calls rightly that learnt from the recordings `train`.

    Args:
        features: (recordings, n) of the network.
        labels: (recordings,) classes.
        train, test: indices of recordings.

    Every feature is brought to mean 0 and spread 1. The settings are scikit-learn's own, five neighbours and
    C = 1, and not tuned.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    kinds = (KNeighborsClassifier(), LogisticRegression(max_iter=1000), SVC())
    return {
        name: int(
            (
                make_pipeline(StandardScaler(), kind)
                .fit(features[train], labels[train])
                .predict(features[test])
                == labels[test]
            ).sum()
        )
        for name, kind in zip(CLASSIFIERS, kinds, strict=True)
    }
