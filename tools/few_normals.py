"""What a handful of normal recordings finds, with a row of the bank for each second or for each recording: a table.

    python tools/few_normals.py data=DIR [draws=3] [seconds=10]

Recordings are the clips of a machine of DIR end to end, in a random order: those to learn from are normal training
clips of the source domain, those to score are test clips of one domain and label. Options are those of `enroll`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import asd
from asd.data.audio import read_wav

RATE_HZ = 16000


def main() -> None:
    """Prints a row for each number of recordings and length of a window, means over machines and draws."""
    given = {"draws": "3", "seconds": "10", **dict(word.split("=", 1) for word in sys.argv[1:])}
    folders = [folder for folder in sorted(Path(given["data"]).iterdir()) if (folder / "train").is_dir()]
    print("| recordings | window_s | AUC | anomalies found | false alarms |")
    print("|---|---|---|---|---|")
    for n, window_s in ((6, 1000), (6, 1), (12, 1)):
        parts = [(folder, draw) for folder in folders for draw in range(int(given["draws"]))]
        values = np.mean([_measured(*part, n, window_s, float(given["seconds"])) for part in parts], axis=0)
        print(f"| {n} | {window_s} | " + " | ".join(f"{100 * value:.1f}" for value in values) + " |", flush=True)


def _measured(folder: Path, draw: int, n: int, window_s: float, seconds: float) -> tuple[float, float, float]:
    """AUC, share of anomalies found and share of false alarms of a machine."""
    options = {"window_s": window_s, "decision.false_alarm_rate": 0.1}
    normal = _recordings(folder / "train", "*_source_train_normal_*.wav", draw, seconds)[:n]
    model = asd.fit(normal, RATE_HZ, options=options, device="cpu")
    labels, found = [], []
    for domain in ("source", "target"):
        for label in ("normal", "anomaly"):
            for recording in _recordings(folder / "test", f"*_{domain}_test_{label}_*.wav", draw, seconds):
                labels.append(label == "anomaly")
                found.append(model.score(recording, RATE_HZ))
    table = pd.DataFrame({"score": [f.score for f in found], "decision": [f.decision for f in found]})
    rates = table.groupby(labels)["decision"].mean()
    return asd.metrics.auc(labels, table["score"]), float(rates[True]), float(rates[False])


def _recordings(folder: Path, pattern: str, draw: int, seconds: float) -> list[np.ndarray]:
    """As many recordings of a length as the clips of a folder make end to end."""
    clips = [read_wav(path)[0][0] for path in sorted(folder.glob(pattern))]
    sound = np.concatenate([clips[i] for i in np.random.default_rng(draw).permutation(len(clips))])
    length = round(seconds * RATE_HZ)
    return [sound[start : start + length] for start in range(0, len(sound) - length + 1, length)]


if __name__ == "__main__":
    main()
