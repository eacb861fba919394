"""What names of folders and cells of tables mean: words in any case, machines by the folders of their recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from asd.types import AsdError, Domain, Label, Split

NORMAL = frozenset({"normal", "normals", "good", "ok", "okay", "healthy", "nominal", "normalsound"})
ANOMALOUS = frozenset(
    {"abnormal", "anomaly", "anomalies", "anomalous", "bad", "ng", "nok", "faulty", "fault", "faults", "defect"}
    | {"defects", "defective", "broken", "anomaloussound"}
)
TRAINING = frozenset({"train", "training"})
TESTING = frozenset({"test", "testing", "eval", "evaluation", "val", "validation"})
UNKNOWN = frozenset({"unknown", "unlabelled", "unlabeled", "unsorted", "new", "inbox", "incoming", "recent", "today"})

Parts = tuple[str, ...]  # folders from the data folder down


def label_of(word: str, where: str) -> Label | None:
    """The label that a cell names, None where it names none; messages say `where` it stands.

    Raises:
        AsdError: the word means nothing.
    """
    lower = word.lower()
    if lower in NORMAL | {"0"}:
        return Label.NORMAL
    if lower in ANOMALOUS | {"1"}:
        return Label.ANOMALY
    if lower in UNKNOWN | {""}:
        return None
    raise AsdError(f"{where} has the label {word!r}; write normal, anomaly, or nothing where it is not known")


def split_of(word: str, where: str) -> Split | None:
    """The split that a cell names, None where it names none; messages say `where` it stands.

    Raises:
        AsdError: a word that names no split.
    """
    lower = word.lower()
    if lower in TRAINING:
        return Split.TRAIN
    if lower in TESTING:
        return Split.TEST
    if not lower:
        return None
    raise AsdError(f"{where} has the split {word!r}; write train, test, or nothing where it shall be decided")


def domain_of(word: str, where: str) -> Domain | None:
    """The domain that a cell names, None where it names none; messages say `where` it stands.

    Raises:
        AsdError: a word that names no domain.
    """
    lower = word.lower()
    if lower in {*Domain}:
        return Domain(lower)
    if not lower:
        return None
    raise AsdError(
        f"{where} has the domain {word!r}; write source or target, or put a condition into the column section"
    )


def machine_names(places: Iterable[Parts]) -> dict[Parts, str]:
    """The name of each machine: its folder's, with the folders above where two are called the same.

    Example:
        >>> machine_names([("hall 1", "fan"), ("hall 2", "fan"), ("hall 2", "pump")])
        {('hall 1', 'fan'): 'hall 1_fan', ('hall 2', 'fan'): 'hall 2_fan', ('hall 2', 'pump'): 'pump'}
    """
    every = dict.fromkeys(places)
    count = Counter(place[-1:] for place in every)
    return {place: "_".join(place if count[place[-1:]] > 1 else place[-1:]) for place in every}
