"""What faulty recordings among the training clips cost the default detector, and what listening wins back.

    python tools/contamination.py data=DIR

Of each machine of DIR, in the challenge's layout, anomalous test clips are put among the training clips, at random
places. The rest of the test clips is scored by three models: fitted to all of that; without those faulty ones that a
listener finds in the tenth of the training clips with the highest training scores; and without any. Prints a Markdown
table of the AUC in per cent, mean (lowest) of the machines, each the mean of three draws.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

import asd
from asd.data.audio import read_wav
from asd.metrics import auc

SHARES = (0.01, 0.02, 0.05, 0.1)  # of the training clips, that are faulty
N_DRAWS = 3
HEARD = 0.1  # of the training clips, that are listened to
Clips = list[npt.NDArray[np.float32]]


def main() -> None:
    """Prints the table."""
    data = Path(dict(word.split("=", 1) for word in sys.argv[1:])["data"])
    logging.disable(logging.WARNING)
    machines = sorted(folder for folder in data.iterdir() if (folder / "train").is_dir())
    print("| faulty | of them in the highest tenth | AUC as it is | those taken out | none in it |")
    print("|---|---|---|---|---|")
    for share in SHARES:
        found = np.array(
            [np.mean([_measured(folder, share, draw) for draw in range(N_DRAWS)], 0) for folder in machines]
        )
        cells = [f"{mean:.1f} ({low:.1f})" for mean, low in zip(found.mean(0)[1:], found.min(0)[1:], strict=True)]
        print(f"| {100 * share:g} % | {found.mean(0)[0]:.0f} % | {' | '.join(cells)} |", flush=True)


def _measured(folder: Path, share: float, draw: int) -> tuple[float, ...]:
    """Share of the faulty clips that listening finds, and the AUC of the three models, in per cent."""
    rng = np.random.default_rng(draw)
    paths = sorted((folder / "train").glob("*.wav"))
    n_most = round(SHARES[-1] * len(paths))
    anomalous = rng.permutation(sorted((folder / "test").glob("*_anomaly_*.wav")))
    kept = [*(folder / "test").glob("*_normal_*.wav"), *anomalous[n_most:]]  # the same clips for every share
    train, test = _read(paths), _read(kept)
    is_anomaly = np.array(["_anomaly_" in path.name for path in kept])
    is_faulty = np.zeros(len(train), bool)
    for path in anomalous[: max(1, round(share * len(paths)))]:
        place = int(rng.integers(len(train) + 1))
        train.insert(place, read_wav(path)[0][0])
        is_faulty = np.insert(is_faulty, place, True)
    rate_hz = read_wav(paths[0])[1]

    def measured(chosen: npt.NDArray[np.bool_]) -> tuple[asd.Model, float]:
        model = asd.fit([clip for clip, takes in zip(train, chosen, strict=True) if takes], rate_hz, device="cpu")
        scores = model.detector.score_waveforms(test, model.options.sample_rate_hz)[model.scorers[0]]
        return model, 100 * auc(is_anomaly, scores)

    model, as_it_is = measured(np.ones(len(train), bool))
    highest = np.argsort(-model.normal.scores[model.scorers[0]].to_numpy())[: round(HEARD * len(train))]
    heard = is_faulty & np.isin(np.arange(len(train)), highest)
    return 100 * heard.sum() / is_faulty.sum(), as_it_is, measured(~heard)[1], measured(~is_faulty)[1]


def _read(paths: list[Path]) -> Clips:
    return [read_wav(path)[0][0] for path in paths]


if __name__ == "__main__":
    main()
