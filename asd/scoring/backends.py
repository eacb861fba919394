"""Back ends by name: references in, a score for any vector out. One embedding, many back ends.

Conventions: `score(queries)` maps (queries, dims) to (queries,), higher = more anomalous, in units of the
back end's own. `training_scores` gives the references their scores without any meeting itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np

from asd.scoring.domains import DomainMedian, DomainZ
from asd.scoring.gaussian import Mahalanobis, SelectiveMahalanobis
from asd.scoring.neighbours import (
    Nearest,
    Whitened,
    nearest_after_mem_mixup,
    nearest_after_smote,
    nearest_of_coreset,
)
from asd.scoring.normalise import DensityRatio, NeighbourScorer, VarMin
from asd.scoring.prototypes import Bandwise, Mixture, Prototypes
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
    "knn": Nearest,
    "knn_cosine": partial(Nearest, metric="cosine"),
    "knn_whitened": Whitened,
    "knn_density": lambda refs: DensityRatio(refs.vectors),
    "knn_varmin": lambda refs: VarMin(refs.vectors),
    "knn_median": lambda refs: DomainMedian(refs.vectors, refs.is_target),
    "knn_z": lambda refs: DomainZ(refs.vectors, refs.is_target),
    "knn_smote": nearest_after_smote,
    "knn_memmixup": nearest_after_mem_mixup,
    "coreset": nearest_of_coreset,
    "gmm": Mixture,
    "kmeans": Prototypes,
    "bandwise": Bandwise,
}


def method_of(name: str) -> str:
    """What a back end is called in a meta file: the organisers' tags where they have one."""
    if name.startswith(("gaussian", "mahalanobis")):
        return "Mahalanobis distance"
    return {"gmm": "GMM", "kmeans": "k-means"}.get(name, "k-NN")


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

    A back end that can leave single clips out does. For the others whole folds are left out: five fits
    instead of a thousand, at the price of models that know a fifth less. Every condition is spread over
    all folds.
    """
    fitted = backend(references)
    if isinstance(fitted, NeighbourScorer):
        return fitted.score_training()
    return held_out_scores(backend, references, references.vectors, n_folds)


def held_out_scores(
    backend: Backend, references: References, vectors: FloatArray, n_folds: int = N_FOLDS
) -> FloatArray:
    """Scores of one vector per reference, each by a model that has not seen that reference.

    Args:
        backend: what to fit.
        references: n training clips.
        vectors: (n, dims) the clips themselves, or altered copies of them.
        n_folds: parts that are left out in turn.
    """
    scores = np.empty(len(references))
    for held_out in references.folds(n_folds):
        scores[held_out] = backend(references[~held_out]).score(vectors[held_out])
    return scores
