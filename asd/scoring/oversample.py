"""More references for the rare domain, made from the few there are.

Both functions return the given rows, in order, followed by made-up target rows. Made-up rows lie near the
clips they come from: leave-one-out scores of an enlarged bank flatter the target domain, so hold clips out
before enlarging.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from asd.core.runtime import log
from asd.scoring.bank import Bank
from asd.scoring.space import FloatArray, Metric
from asd.types import AsdError

Mask = npt.NDArray[np.bool_]


def smote(
    vectors: FloatArray, is_target: Mask, *, ratio: float = 0.2, neighbours: int = 2, seed: int = 0
) -> tuple[FloatArray, Mask]:
    """Target rows between target rows, by imbalanced-learn's SMOTE (Chawla et al. 2002).

    Each new row lies on the line from a target row to one of its nearest target rows. Settings: those of a
    public toolkit's k-NN back end (ratio 0.2, 2 neighbours, for 990 source and 10 target clips).

    Args:
        vectors: (n, dims) references.
        is_target: (n,).
        ratio: target rows per source row afterwards, in (0, 1]; where there are as many, nothing is added.
        neighbours: target rows a new row may lie towards; with fewer others, all of them.
        seed: fixes the draw.

    Returns:
        (n + new, dims) and (n + new,). Unchanged, with a warning in the log, for fewer than two target rows
        or without source rows: there is no line to lie on, or nothing to balance against.

    Raises:
        AsdError: a ratio or number of neighbours out of range.
    """
    if not (0.0 < ratio <= 1.0 and neighbours >= 1):
        raise AsdError(
            f"SMOTE needs a ratio in (0, 1] and 1 or more neighbours, got {ratio:g} and {neighbours}"
        )
    n_target = int(is_target.sum())
    n_source = len(is_target) - n_target
    if n_target < 2 or not n_source:
        log.warning("SMOTE leaves a bank of %d source and %d target clips as it is", n_source, n_target)
        return vectors, is_target
    if int(n_source * ratio) <= n_target:
        return vectors, is_target
    from imblearn.over_sampling import SMOTE  # takes a second to import

    sampler = SMOTE(
        sampling_strategy=ratio, k_neighbors=min(neighbours, n_target - 1), random_state=seed % 2**32
    )
    # It wants the rare class to be the one with fewer rows, whatever its name.
    enlarged, labels = sampler.fit_resample(vectors, is_target)
    return enlarged, labels.astype(bool)


def mem_mixup(
    vectors: FloatArray,
    is_target: Mask,
    *,
    neighbours: int = 990,
    weight: float = 0.9,
    metric: Metric = "euclid",
) -> tuple[FloatArray, Mask]:
    """Target rows drawn a little towards source rows: weight * t + (1 - weight) * s.

    For each target row t and each of its nearest source rows s. Source: MemMixup of GenRep (Saengthong and
    Shinozaki 2024), with 990 source rows, 10 target rows and weight 0.9: 10 + 9,900 target rows.

    Args:
        vectors: (n, dims) references.
        is_target: (n,).
        neighbours: source rows per target row; with fewer, all of them.
        weight: of the target row, in (0, 1).
        metric: which source rows are near.

    Returns:
        (n + new, dims) and (n + new,). Unchanged, with a warning in the log, where a domain has no rows.

    Raises:
        AsdError: a weight or number of neighbours out of range.
    """
    if not (0.0 < weight < 1.0 and neighbours >= 1):
        raise AsdError(
            f"MemMixup needs a weight in (0, 1) and 1 or more neighbours, got {weight:g} and {neighbours}"
        )
    source, target = vectors[~is_target], vectors[is_target]
    if not len(source) or not len(target):
        log.warning(
            "MemMixup leaves a bank of %d source and %d target clips as it is", len(source), len(target)
        )
        return vectors, is_target
    near = Bank(source, metric=metric).search(target, min(neighbours, len(source))).indices
    mixed = weight * target[:, None] + (1.0 - weight) * source[near]
    made = mixed.reshape(-1, vectors.shape[1]).astype(vectors.dtype)
    return np.concatenate([vectors, made]), np.concatenate([is_target, np.ones(len(made), dtype=bool)])
