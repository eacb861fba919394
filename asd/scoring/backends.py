"""Back ends by name: references in, a score for any vector out. One embedding, many back ends.

Conventions: `score(queries)` maps (queries, dims) to (queries,), higher = more anomalous, in units of the
back end's own. `training_scores` gives the references their scores without any meeting itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np

from asd.scoring.gaussian import Mahalanobis, SelectiveMahalanobis
from asd.scoring.references import FloatArray, References
from asd.types import AsdError

N_FOLDS = 5  # parts of the training clips that are scored by a model of the others


class Scorer(Protocol):
    """A fitted back end."""

    def score(self, queries: FloatArray) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims)."""
        ...


Backend = Callable[[References], Scorer]


BACKENDS: dict[str, Backend] = {
    # shared covariance within conditions, twice the Ledoit-Wolf shrinkage: what the default detector uses
    "gaussian": partial(Mahalanobis, means="condition", shrinkage=2.0),
    "mahalanobis": partial(Mahalanobis, means="all"),
    "mahalanobis_within": partial(Mahalanobis, means="domain"),
    "mahalanobis_selective": SelectiveMahalanobis,
}


def backend_named(name: str) -> Backend:
    """A registered back end.

    Raises:
        AsdError: there is none of that name.
    """
    if name not in BACKENDS:
        raise AsdError(f"backend={name} is unknown; there are {', '.join(BACKENDS)}")
    return BACKENDS[name]


def training_scores(backend: Backend, references: References, n_folds: int = N_FOLDS) -> FloatArray:
    """Scores of the references themselves, each by a model that has not seen it.

    Whole folds are left out instead of single clips: five fits instead of a thousand, at the price of
    models that know a fifth less. Every condition is spread over all folds.
    """
    scores = np.empty(len(references))
    for held_out in references.folds(n_folds):
        scores[held_out] = backend(references[~held_out]).score(references.vectors[held_out])
    return scores
