"""What layouts have in common: names of machines from the folders above their recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

Parts = tuple[str, ...]  # folders from the data folder down


def machine_names(places: Iterable[Parts]) -> dict[Parts, str]:
    """The name of each machine: its folder's, with the folders above where two are called the same.

    Args:
        places: folders of the machines, from the data folder down; () is the data folder itself.

    Returns:
        A name for each; "" for the data folder itself.

    Example:
        >>> machine_names([("hall 1", "fan"), ("hall 2", "fan"), ("hall 2", "pump")])
        {('hall 1', 'fan'): 'hall 1_fan', ('hall 2', 'fan'): 'hall 2_fan', ('hall 2', 'pump'): 'pump'}
    """
    every = dict.fromkeys(places)
    count = Counter(place[-1:] for place in every)
    return {place: "_".join(place if count[place[-1:]] > 1 else place[-1:]) for place in every}
