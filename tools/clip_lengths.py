"""What clips of several lengths cost the default detector, and what windows win back, as two Markdown tables.

    python tools/clip_lengths.py data=DIR

Each machine of DIR, in the challenge's layout and of clips of one length, has its clips cut to lengths drawn from a
distribution, of training and test alike; then clips are learnt from as they are, and test clips of one domain and
condition put together. "Whole" takes clips as they are, "windows" as `detectors.windowed` does by default.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import asd
from asd.data.audio import read_wav
from asd.detectors.windowed import Windowed
from asd.metrics import auc

Draw = Callable[[np.random.Generator, int], npt.NDArray[np.float64]]
LENGTHS: dict[str, Draw] = {
    "all alike": lambda rng, n: np.ones(n),
    "0.8 to 1": lambda rng, n: rng.uniform(0.8, 1, n),
    "0.5 to 1": lambda rng, n: rng.uniform(0.5, 1, n),
    "0.25 to 1": lambda rng, n: rng.uniform(0.25, 1, n),
    "one in ten 0.5, else 1": lambda rng, n: np.where(rng.random(n) < 0.1, 0.5, 1.0),
    "one in ten 0.25, else 1": lambda rng, n: np.where(rng.random(n) < 0.1, 0.25, 1.0),
    "half of them 0.25, else 1": lambda rng, n: rng.choice([0.25, 1.0], n),
}
LONGER = (1.0, 1.5, 2.0, 4.0)
_MOST = 120  # test clips of a machine
Clips = list[npt.NDArray[np.float32]]


def main() -> None:
    """Prints means over machines, and the lowest AUC of one, in per cent."""
    data = Path(dict(word.split("=", 1) for word in sys.argv[1:])["data"])
    logging.disable(logging.WARNING)
    machines = sorted(folder for folder in data.iterdir() if (folder / "train").is_dir())
    columns = (f"{what}: whole; windows" for what in ("AUC (worst)", "normal above", "anomalous above"))
    head = " | ".join(columns) + " |\n|---|---|---|---|"
    print(f"| lengths | {head}")
    for name, draw in LENGTHS.items():
        print(_row(name, [_mixed(folder, draw) for folder in machines]), flush=True)
    print(f"\n| length | {head}")
    for length, found in zip(LONGER, zip(*map(_longer, machines), strict=True), strict=True):
        print(_row(f"{length:g}", found), flush=True)


def _row(name: str, found: Sequence[npt.NDArray[np.float64]]) -> str:
    """A row of measures (2, 3) of each machine: of whole clips and of windows."""
    means, lowest = np.mean(found, 0), np.min(found, 0)
    aucs = "; ".join(f"{mean[0]:.1f} ({low[0]:.1f})" for mean, low in zip(means, lowest, strict=True))
    shares = ["; ".join(f"{100 * value:.0f}" for value in means[:, column]) for column in (1, 2)]
    return f"| {name} | {aucs} | {' | '.join(f'{share} %' for share in shares)} |"


def _mixed(folder: Path, draw: Draw) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(0)
    train, rate_hz = _read(sorted((folder / "train").glob("*.wav")))
    paths = _drawn(rng, sorted((folder / "test").glob("*.wav")))
    test, is_anomaly = _read(paths)[0], np.array(["_anomaly_" in path.name for path in paths])
    train, test = (
        [wave[: round(len(wave) * part)] for wave, part in zip(waves, draw(rng, len(waves)), strict=True)]
        for waves in (train, test)
    )
    whole = asd.fit(train, rate_hz, options={"window_s": 3600.0}, device="cpu")
    windows = asd.fit(train, rate_hz, device="cpu")
    return np.array([_measured(model, test, is_anomaly) for model in (whole, windows)])


def _longer(folder: Path) -> list[npt.NDArray[np.float64]]:
    """Measures for each of `LONGER`."""
    rng, found = np.random.default_rng(0), []
    train, rate_hz = _read(sorted((folder / "train").glob("*.wav")))
    model = asd.fit(train, rate_hz, device="cpu")
    assert isinstance(model.detector, Windowed)
    of_windows = model.detector.n_samples
    groups: dict[str, list[Path]] = {}
    for path in sorted((folder / "test").glob("*.wav")):
        section, domain, _, label, _, *condition = path.stem.split("_")[1:]
        groups.setdefault("_".join((section, domain, label, *condition)), []).append(path)
    for length in LONGER:
        made: dict[bool, Clips] = {True: [], False: []}
        for name, paths in groups.items():
            waves = _read(paths)[0]
            for i in range(len(waves)):
                joined = np.concatenate([waves[(i + j) % len(waves)] for j in range(math.ceil(length))])
                made["anomaly" in name].append(joined[: round(length * len(waves[i]))])
        normal, anomalous = (
            [clips[i] for i in rng.permutation(len(clips))[: _MOST // 2]] for clips in (made[False], made[True])
        )
        is_anomaly = np.repeat([False, True], [len(normal), len(anomalous)])
        measures = []
        for n_samples in (None, of_windows):  # None: clips are taken whole
            model.detector.n_samples = n_samples
            measures.append(_measured(model, normal + anomalous, is_anomaly))
        found.append(np.array(measures))
    return found


def _measured(model: asd.Model, test: Clips, is_anomaly: npt.NDArray[np.bool_]) -> list[float]:
    """AUC in per cent; shares of normal and of anomalous clips above the threshold."""
    scores = model.detector.score_waveforms(test, model.options.sample_rate_hz)[model.scorers[0]]
    is_above = scores > model.thresholds[model.scorers[0]].value
    return [100 * auc(is_anomaly, scores), float(is_above[~is_anomaly].mean()), float(is_above[is_anomaly].mean())]


def _read(paths: Sequence[Path]) -> tuple[Clips, int]:
    read = [read_wav(path) for path in paths]
    return [waveform[0] for waveform, _ in read], read[0][1]


def _drawn(rng: np.random.Generator, paths: Sequence[Path]) -> list[Path]:
    return [paths[i] for i in rng.permutation(len(paths))[:_MOST]]


if __name__ == "__main__":
    main()
