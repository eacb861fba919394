"""Can a back end be chosen without a test label? Rank correlation of a stand-in with the real thing.

    python tools/selection_study.py data=DIR [seed=0]

Methods are all pairs of a view and a back end. The stand-in: how well a method tells held-out normal
training clips from copies with a foreign sound (`asd.features.pseudo_anomalies`), an AUC. The real thing: the
machine's official score on its labelled test clips. Prints Spearman's correlation per machine over all
methods and over the better half of them, and what choosing by the stand-in would have given, beside the
default detector and the oracle that looks at the labels.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from asd.challenge import files
from asd.core.runtime import pick_device
from asd.data.recordings import Recordings, check
from asd.detectors.base import RunContext
from asd.detectors.options import StatisticsSettings
from asd.detectors.statistics import Statistics
from asd.features.clip_statistics import FURTHER_VIEWS, VIEWS
from asd.metrics import auc, evaluate_table
from asd.runs import score_table
from asd.scoring.backends import BACKENDS, backend_named
from asd.scoring.references import FloatArray, references_of, sections_of
from asd.scoring.sections import PerSectionScorer
from asd.types import AsdError, Split

YEAR = 2025


def main(arguments: Sequence[str]) -> int:
    """Prints the study; returns the exit status."""
    words = dict(word.partition("=")[::2] for word in arguments)
    try:
        if not words.get("data"):
            raise AsdError(
                "say data=DIR, a folder that holds <machine>/{train,test} with labelled test clips"
            )
        root, seed = Path(words["data"]), int(words.get("seed", "0"))
        machines = files.list_machines(root)
        results = {machine: _study(root, machine, seed) for machine in machines}
    except AsdError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _print(results)
    return 0


def _study(root: Path, machine: str, seed: int) -> tuple[dict[str, tuple[float, float]], float]:
    """{method: (stand-in, real)} and the default detector's real score."""
    train, test = (
        check(files.list_clips(root, machine, split), sample_rate_hz=16000)
        for split in (Split.TRAIN, Split.TEST)
    )
    place = RunContext(pick_device("cpu"), Path(), Path(), seed)
    detector = Statistics(place, StatisticsSettings(views=[*VIEWS, *FURTHER_VIEWS]))
    normal, foreign, unseen = (
        detector.vectors(train),
        detector.vectors(train, foreign=True),
        detector.vectors(test),
    )
    methods = {}
    for view in detector.views:
        references = references_of(train.clips, normal[view])
        for name in BACKENDS:
            fitted = PerSectionScorer(backend_named(name)).fit(references)
            parts = fitted.held_out(normal[view]), fitted.held_out(foreign[view])
            is_foreign = np.repeat([False, True], len(train))
            scores = fitted.z(unseen[view], sections_of(test.clips))
            methods[f"{view} {name}"] = (auc(is_foreign, np.concatenate(parts)), _official(test, scores))
    default = Statistics(place)
    default.fit(train)
    return methods, _official(test, default.score(test)["ensemble"])


def _official(test: Recordings, scores: FloatArray) -> float:
    table = score_table(test.clips, scores, np.zeros(len(scores), np.int64))
    return evaluate_table(table, YEAR)["official_score"]


def _print(results: dict[str, tuple[dict[str, tuple[float, float]], float]]) -> None:
    n_methods = len(next(iter(results.values()))[0])
    print(f"{n_methods} methods: {len(VIEWS + FURTHER_VIEWS)} views x {len(BACKENDS)} back ends\n")
    print("| machine | correlation, all | better half | chosen | its score | default | oracle | its score |")
    print("|---|---|---|---|---|---|---|---|")
    for machine, (methods, default) in results.items():
        stand_in, real = np.array(list(methods.values())).T
        better = real >= np.median(real)
        names = list(methods)
        chosen, oracle = int(stand_in.argmax()), int(real.argmax())
        print(
            f"| {machine} | {spearmanr(stand_in, real).statistic:.2f} "
            f"| {spearmanr(stand_in[better], real[better]).statistic:.2f} "
            f"| {names[chosen]} | {100 * real[chosen]:.1f} | {100 * default:.1f} "
            f"| {names[oracle]} | {100 * real[oracle]:.1f} |"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
