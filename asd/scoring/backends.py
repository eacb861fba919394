"""Back ends by name: one embedding, many ways to score it. To add one, write a `base.Backend` and name it here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

from asd.scoring.base import Backend
from asd.scoring.gaussian import Mahalanobis, Mixture, SelectiveMahalanobis
from asd.scoring.nearest import Bandwise, Nearest, NearestOfMade, NeighbourBackend
from asd.scoring.neighbours import IndexName
from asd.scoring.relative import DomainNearest, RelativeNearest
from asd.types import AsdError

BACKENDS: dict[str, Callable[..., Backend]] = {
    "knn_relative": RelativeNearest,
    "knn": Nearest,
    "knn_cosine": partial(Nearest, metric="cosine"),
    "knn_whitened": partial(RelativeNearest, density=0.0, offset_clips=None),
    "knn_density": partial(RelativeNearest, whiten=False, density=1.0, neighbours=4, offset_clips=None),
    "knn_varmin": partial(RelativeNearest, whiten=False, density=None, offset_clips=None),
    "knn_domain_median": partial(DomainNearest, statistic="median"),
    "knn_domain_z": partial(DomainNearest, statistic="z"),
    "knn_smote": partial(NearestOfMade, made="smote"),
    "knn_memmixup": partial(NearestOfMade, made="memmixup"),
    # one covariance within conditions, twice the Ledoit-Wolf shrinkage
    "gaussian": partial(Mahalanobis, means="condition", shrinkage=2.0),
    "mahalanobis": partial(Mahalanobis, means="all"),
    "mahalanobis_within": partial(Mahalanobis, means="domain"),
    "mahalanobis_selective": SelectiveMahalanobis,
    "gmm": Mixture,
    "kmeans": partial(NearestOfMade, made="kmeans"),
    "bandwise": Bandwise,
}


def backend_named(name: str, **options: Any) -> Backend:
    """A registered back end, not fitted yet.

    Args:
        name: a key of `BACKENDS`.
        options: of the back end, `neighbours=2` for "knn", say; they win over those the name stands for.

    Raises:
        AsdError: there is none of that name, or it has no such option.

    Example:
        >>> backend_named("knn", neighbours=2).neighbours
        2
    """
    if name not in BACKENDS:
        raise AsdError(f"backend={name} is unknown; there are {', '.join(BACKENDS)}")
    factory = BACKENDS[name]
    known = [field.name for field in fields(factory())]
    if unknown := [option for option in options if option not in known]:
        raise AsdError(f"the back end {name} has no option {unknown[0]}=; it has {', '.join(known)}")
    return factory(**options)


def search_options(
    names: Sequence[str], *, device: str = "cpu", neighbours: int | None = None, index: IndexName = "auto"
) -> dict[str, dict[str, Any]]:
    """Options for `backend_named` by name: how each is to search neighbours, where it does.

    Args:
        names: keys of `BACKENDS`.
        device: where to search.
        neighbours: how many count; None: what each name stands for.
        index: of `neighbours.NeighbourBank`.

    Raises:
        AsdError: there is none of a name, or neighbours or an index are wanted and none of them searches.
    """
    wanted: dict[str, Any] = {} if neighbours is None else {"neighbours": neighbours}
    wanted |= {} if index == "auto" else {"index": index}
    searching = [name for name in names if isinstance(backend_named(name), NeighbourBackend)]
    if wanted and not searching:
        option, value = next(iter(wanted.items()))
        raise AsdError(
            f"{option}={value} is for k-NN back ends, and {', '.join(names)} searches no neighbours"
        )
    return {name: {"device": device, **(wanted if name in searching else {})} for name in names}
