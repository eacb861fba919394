"""The classes that an encoder learns to tell apart: from what is known of normal clips, or by clustering.

A class is machine x section x domain x attributes. Where a machine has too few of them to train an encoder
on, its larger classes are split into pseudo-classes by k-means; only training clips are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from asd.core.runtime import log
from asd.types import AsdError, Clip

Indices = npt.NDArray[np.int64]

_LEAST_CLIPS = 8  # per pseudo-class: with fewer, an encoder learns the clips by heart


@dataclass(frozen=True)
class Classes:
    """Which class each clip belongs to.

    Attributes:
        names: of the classes, such as "bearing 00 source rpm=800"; pseudo-classes end in "#0", "#1", ...
        index: (clips,) number of each clip's class.
    """

    names: tuple[str, ...]
    index: Indices

    def balanced_weights(self, balance: float) -> npt.NDArray[np.float64]:
        """Sampling weight of each clip, (clips,): class size to the power of -`balance`.

        0 draws clips alike, 1 draws classes alike; in between, 10 target clips are neither drowned by 990
        of the source nor learnt by heart.
        """
        counts = np.bincount(self.index, minlength=len(self.names))
        return counts[self.index].astype(np.float64) ** -balance


def class_name(clip: Clip) -> str:
    """Machine, section, domain and attributes, as far as they are known."""
    known = [clip.machine, clip.section, *([str(clip.domain)] if clip.domain else [])]
    return " ".join([*known, *(f"{key}={value}" for key, value in sorted(clip.attributes.items()))])


def classes_of(
    clips: Sequence[Clip],
    vectors: Callable[[Indices], npt.NDArray[np.floating]],
    *,
    least_classes: int = 3,
    most_classes: int = 8,
    seed: int = 0,
) -> Classes:
    """Classes of training clips, with pseudo-classes where a machine's section has fewer than `least_classes`.

    Args:
        vectors: called with indices (n,) of clips to cluster: (n, dims) that describe their sound.
        least_classes: a section with as many real classes is left as it is.
        most_classes: cap on the classes of a section that is split.
    """
    names = np.array([class_name(clip) for clip in clips], dtype=object)
    sections = np.array([f"{clip.machine} {clip.section}" for clip in clips], dtype=object)
    for section in sorted(set(sections)):
        own = sections == section
        real = sorted(set(names[own]))
        if len(real) >= least_classes:
            continue
        for name in real:
            members = np.flatnonzero(names == name)
            most = min(1 + most_classes - len(real), len(members) // _LEAST_CLIPS)
            if most >= 2:
                pseudo = pseudo_classes(vectors(members), most, seed)
                names[members] = [f"{name} #{k}" for k in pseudo]
        if (made := len(set(names[own]))) > len(real):
            log.warning(
                "%s has %d real class(es), too few to train an encoder: split into %d pseudo-classes by k-means "
                "of the mean log-mel spectrum",
                *(section, len(real), made),
            )
    unique, index = np.unique(names.astype(str), return_inverse=True)
    if len(unique) < 2:
        raise AsdError(
            f"all {len(clips)} training clips are of one class ({unique[0]}) and too few to split: there is "
            f"nothing to tell apart; add clips, train jointly with other machines, or use another detector"
        )
    return Classes(tuple(unique.tolist()), index.astype(np.int64))


def pseudo_classes(vectors: npt.NDArray[np.floating], most: int, seed: int = 0) -> Indices:
    """Clusters of vectors (n, dims), (n,): k-means, k from 2 to `most` by the best silhouette.

    The silhouette asks only how compact and apart the clusters are, so that no test clip is needed.
    Identical vectors are one cluster.
    """
    best = np.zeros(len(vectors), np.int64)
    highest = -np.inf
    distinct = len(np.unique(vectors, axis=0))
    for k in range(2, min(most, distinct - 1) + 1):
        found = KMeans(k, n_init=10, random_state=seed).fit_predict(vectors)
        quality = float(silhouette_score(vectors, found))
        if quality > highest:
            best, highest = found.astype(np.int64), quality
    return best
