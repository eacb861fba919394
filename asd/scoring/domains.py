"""One neighbour bank per domain, and distances made comparable between the domains.

    DomainMedian    min over domains of d(x, domain) / median
    DomainZ         min over domains of (d(x, domain) - mean) / deviation
    transductive_z  the same with mean and deviation of the test set: it looks at test data, so the score of
                    a clip depends on the clips it is scored with. Never a default.

d(x, domain) is the mean distance to the k nearest references of the domain (to all of them, where there are
fewer). Median, mean and deviation are those of the domain's own references, each scored without itself.
Protocol and rules for degenerate banks: `asd.scoring.normalise`.
"""

from __future__ import annotations

import numpy as np

from asd.scoring.bank import Bank
from asd.scoring.normalise import TINY, Mask, Vectors, check_leave_one_out, is_constant
from asd.scoring.space import FloatArray, Metric
from asd.types import AsdError


class DomainBanks:
    """References split by domain.

    Args:
        vectors: (n, dims) references.
        is_target: (n,) whether a reference is of the target domain. Where all are of one, there is one bank.
        k: neighbours whose distance is averaged.
        metric: "euclid" or "cosine".

    Raises:
        AsdError: no vectors, as many flags as vectors missing, k below 1.
    """

    def __init__(self, vectors: Vectors, is_target: Mask, *, k: int = 1, metric: Metric = "euclid") -> None:
        if is_target.shape != (len(vectors),):
            raise AsdError(
                f"each of {len(vectors)} vectors needs one flag source/target, got shape {is_target.shape}"
            )
        if k < 1:
            raise AsdError(f"k={k} neighbours give no distance; use 1 or more")
        self._vectors, self._k, self._metric = vectors, k, metric
        masks = [mask for mask in (~is_target, is_target) if mask.any()] or [is_target]
        self.members = [np.flatnonzero(mask) for mask in masks]
        self._banks = [Bank(vectors[rows], metric=metric) for rows in self.members]

    def __len__(self) -> int:
        return len(self._vectors)

    def distances(self, queries: Vectors) -> FloatArray:
        """Distance of each query to each domain, (q, domains); source first where there are both."""
        return np.stack([self._mean_distance(bank, queries) for bank in self._banks], axis=1)

    def leave_one_out(self) -> FloatArray:
        """Distance of each reference to each domain without itself, (n, domains).

        Infinite to its own domain for a reference that is alone there.
        """
        distances = np.empty((len(self), len(self._banks)))
        for domain, (rows, bank) in enumerate(zip(self.members, self._banks, strict=True)):
            others = np.setdiff1d(np.arange(len(self)), rows)
            if len(others):
                distances[others, domain] = self._mean_distance(bank, self._vectors[others])
            distances[rows, domain] = self._mean_distance_of_others(bank)
        return distances

    def joint_leave_one_out(self) -> FloatArray:
        """Distance of each reference to all others, whatever their domain: (n,), or () for a lone one."""
        distances = self._mean_distance_of_others(Bank(self._vectors, metric=self._metric))
        return distances[np.isfinite(distances)]

    def _mean_distance(self, bank: Bank, queries: Vectors) -> FloatArray:
        return bank.search(queries, min(self._k, len(bank))).distances.mean(1)

    def _mean_distance_of_others(self, bank: Bank) -> FloatArray:
        if len(bank) == 1:
            return np.array([np.inf])
        k = min(self._k, len(bank) - 1)
        return bank.search(bank.vectors, k, exclude=np.arange(len(bank))).distances.mean(1)


class DomainMedian:
    """min over domains of d(x, domain) / median of the domain's leave-one-out distances.

    Source: per-domain scaling of k-NN distances with frozen encoders (2025 systems; k = 1 was best).

    Degenerate banks: a domain of one reference, or one whose median is zero (duplicates), takes the median
    over all references together; if that is zero too (or there is only one), distances stay as they are.

    Args:
        vectors: (n, dims) references.
        is_target: (n,).
        k: neighbours whose distance is averaged.
        metric: "euclid" or "cosine".
    """

    def __init__(self, vectors: Vectors, is_target: Mask, *, k: int = 1, metric: Metric = "euclid") -> None:
        self._banks = DomainBanks(vectors, is_target, k=k, metric=metric)
        self._training = self._banks.leave_one_out()
        self.scales = np.array([self._scale(self._training[:, d], d) for d in range(self._training.shape[1])])

    def score(self, queries: Vectors) -> FloatArray:
        """Scores (q,) of vectors (q, dims), at least 0."""
        return (self._banks.distances(queries) / self.scales).min(1)

    def score_training(self) -> FloatArray:
        """Leave-one-out scores (n,) of the references; at least two of them are needed."""
        check_leave_one_out(len(self._banks))
        return (self._training / self.scales).min(1)

    def _scale(self, distances: FloatArray, domain: int) -> float:
        own = float(np.median(distances[self._banks.members[domain]]))
        if TINY < own < np.inf:
            return own
        joint = self._banks.joint_leave_one_out()
        return float(np.median(joint)) if len(joint) and np.median(joint) > TINY else 1.0


class DomainZ:
    """min over domains of (d(x, domain) - mean) / deviation of the domain's leave-one-out distances.

    Source: the domain normalisation of GenRep (Saengthong and Shinozaki 2024), which uses the statistics of
    the test set (`transductive_z`); here those of the training clips take their place.

    Degenerate banks: a domain of one reference, or whose distances are constant, takes mean and deviation
    over all references together; if these are constant too, the deviation is 1 (and the mean of a single
    reference 0).

    Args:
        vectors: (n, dims) references.
        is_target: (n,).
        k: neighbours whose distance is averaged.
        metric: "euclid" or "cosine".
    """

    def __init__(self, vectors: Vectors, is_target: Mask, *, k: int = 1, metric: Metric = "euclid") -> None:
        self._banks = DomainBanks(vectors, is_target, k=k, metric=metric)
        self._training = self._banks.leave_one_out()
        moments = [self._moments(self._training[:, d], d) for d in range(self._training.shape[1])]
        self.means, self.deviations = np.array(moments).T

    def score(self, queries: Vectors) -> FloatArray:
        """Scores (q,) of vectors (q, dims)."""
        return ((self._banks.distances(queries) - self.means) / self.deviations).min(1)

    def score_training(self) -> FloatArray:
        """Leave-one-out scores (n,) of the references; at least two of them are needed."""
        check_leave_one_out(len(self._banks))
        return ((self._training - self.means) / self.deviations).min(1)

    def _moments(self, distances: FloatArray, domain: int) -> tuple[float, float]:
        own = distances[self._banks.members[domain]]
        if is_constant(own):
            own = self._banks.joint_leave_one_out()
        return _moments(own)


def transductive_z(distances: FloatArray) -> FloatArray:
    """min over domains of distances standardised by the test set itself: (q, domains) -> (q,).

    For comparison with GenRep only: the test set is a batch of unlabelled data that a fair score must not
    use. A constant column has deviation 1, so it standardises to zero; so does a single query.

    Args:
        distances: `DomainBanks.distances` of the whole test set.
    """
    if not len(distances):
        return np.empty(0)
    means, deviations = np.array([_moments(column) for column in distances.T]).T
    return ((distances - means) / deviations).min(1)


def _moments(values: FloatArray) -> tuple[float, float]:
    """Mean and deviation; of no values 0 and 1, of constant ones their mean and 1."""
    if not len(values):
        return 0.0, 1.0
    return float(values.mean()), 1.0 if is_constant(values) else float(values.std())
