"""What names of folders and cells of tables mean: words in any case, machines by the folders of their recordings."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from os.path import commonpath
from typing import TypeVar

from asd.types import AsdError, Clip, Domain, Label, Split, named

NORMAL = frozenset(
    {"normal", "normals", "good", "ok", "okay", "healthy", "nominal", "intact", "pass", "normalsound"}
    | {"undamaged", "fehlerfrei", "gut", "io", "normale", "bueno", "buono", "bon", "sain", "sano"}
    | {"正常", "正常音", "良品"}
)
ANOMALOUS = frozenset(
    {"abnormal", "anomaly", "anomalies", "anomalous", "bad", "ng", "nok", "faulty", "fault", "faults", "defect"}
    | {"defects", "defective", "broken", "damaged", "damage", "failure", "failures", "fail", "unhealthy"}
    | {"anomaloussound", "malfunction", "malfunctioning"}
    | {"defekt", "defekte", "nio", "ko", "kaputt", "schlecht", "anomal", "anomalie", "anormal", "défaut"}
    | {"fehler", "fehlerhaft", "beschädigt", "störung", "schlechtteile", "défectueux", "defectuoso", "difettoso"}
    | {"panne", "fallo", "avería", "averia", "malo", "anomalia", "guasto", "difetto", "異常", "異常音", "不良", "故障"}
)
_PERHAPS_FAULTS = ANOMALOUS | frozenset(  # or what a machine is for, as a leak tester
    {"leak", "leaks", "leaky", "leaking", "leakage", "crack", "cracks", "cracked", "misalignment", "misaligned"}
    | {"imbalance", "imbalanced", "unbalance", "unbalanced", "cavitation", "wear", "worn", "loose", "looseness"}
    | {"knocking", "clogged", "blocked", "jammed", "chipped", "bent", "rattle", "rattling", "squeal", "spall"}
    | {"pitting", "contaminated", "leck", "leckage", "riss", "schaden", "unwucht", "verschleiß", "verschlissen"}
    | {"locker", "blockiert", "verstopft", "fuite", "fissure", "usure", "fuga", "grieta", "desgaste", "perdita"}
    | {"usura"}
)
_TASKS = frozenset(  # a name such as "fault detection" is that of a project
    {"detection", "detector", "diagnosis", "diagnostics", "classification", "prediction", "recognition", "monitoring"}
)
TRAINING = frozenset({"train", "training"})
TESTING = frozenset({"test", "testing", "eval", "evaluation", "val", "validation"})
UNKNOWN = frozenset(
    {"unknown", "unlabelled", "unlabeled", "unsorted", "new", "inbox", "incoming", "recent", "today"}
    | {"unbekannt", "unbekannte", "ungeprüft", "neu", "neue", "inconnu", "inconnus", "nouveau", "nouveaux"}
    | {"desconocido", "desconocidos", "nuevo", "nuevos", "sconosciuto", "sconosciuti", "nuovo", "nuovi", "不明", "未知"}
)
_NEGATIONS = frozenset(
    {"not", "no", "non", "un", "free", "without", "nicht", "kein", "keine", "ohne", "pas", "sans", "sin", "senza"}
)
_LOADS = frozenset({"load", "loaded", "last", "charge", "carga", "carico"})  # a machine without is no fault denied
_FILLERS = frozenset(
    {"data", "dataset", "audio", "wav", "sound", "sounds", "recording", "recordings", "clips", "files", "samples"}
    | {"condition", "conditions", "state", "operation", "aufnahmen", "daten", "enregistrements", "données"}
    | {"grabaciones", "datos", "registrazioni", "dati"}
)
_TIMES = frozenset(
    {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "january", "february", "march"}
    | {"april", "may", "june", "july", "august", "september", "october", "november", "december", "day", "week"}
    | {"morning", "afternoon", "evening", "night", "am", "pm"}
)
_SESSIONS = frozenset(
    {"run", "session", "take", "measurement", "recording", "visit", "campaign", "shift"}
    | {"lauf", "sitzung", "messung", "aufnahme", "schicht"}
)

Parts = tuple[str, ...]  # folders from the data folder down

# What the name of a folder says beside a label, a split and a domain; a numbered session of recordings is a date, too.
NAME, NUMBER, DATE, SECTION, NOT_KNOWN, NOTHING = "name", "number", "date", "section", "not known", "nothing"
SAYS_NO_MORE = (NUMBER, DATE, NOTHING)  # than the folder above it
_SECTION = re.compile(r"(?:id|section)_(\d\d)")
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)|(?<!\d)(?:19|20)\d{6}(?!\d)")


@cache
def meaning(part: str) -> str:
    """What the name of a folder says: a label, a split, a domain, or one of the constants above.

    Example:
        >>> [str(meaning(part)) for part in ("NG", "not ok", "0_normal", "test data", "normal_2", "2026-03", "pump 3")]
        ['anomaly', 'anomaly', 'normal', 'test', 'name', 'date', 'name']
        >>> [str(meaning(part)) for part in ("i.O.", "n. i. O.", "fault-free", "no fault")]
        ['normal', 'anomaly', 'normal', 'normal']
        >>> [meaning(part) for part in ("run 1", "Session_02 2026-03-01", "take B", "run")]
        ['date', 'date', 'date', 'name']
    """
    lower = _joined(part.lower())
    words = _words(lower)
    telling = [word for word in words if word not in _FILLERS] if lower[-1:].isalpha() else words
    if not words:
        return DATE if _YEAR.search(part) else NUMBER
    if _SECTION.fullmatch(lower):
        return SECTION
    if {*words} <= _TIMES or _is_session(lower, words):
        return DATE
    if not telling:
        return NOTHING
    if len(telling) == 2 and telling[0] in _NEGATIONS and telling[1] in NORMAL:
        return Label.ANOMALY
    if not lower[-1:].isalpha():
        return NAME
    if len(telling) == 2 and {*telling} & ANOMALOUS and (telling[0] in _NEGATIONS or telling[1] == "free"):
        return Label.NORMAL
    return _MEANINGS.get(telling[0], NAME) if len(telling) == 1 else NAME


def _is_session(lower: str, words: Sequence[str]) -> bool:
    """Whether a name is that of one of several sessions of recordings: `run 1`, `take b`, `session_02 2026-03-01`."""
    spelled = {word for word in words if len(word) > 1}
    is_numbered = len(spelled) < len(words) or any(map(str.isdigit, lower))
    return is_numbered and bool(spelled & _SESSIONS) and spelled <= _SESSIONS | _TIMES


def section_of(part: str) -> str | None:
    """The section that a folder such as `id_02` names, None of any other."""
    match = _SECTION.fullmatch(part.lower())
    return match[1] if match else None


def section_by(folders: Iterable[str]) -> str:
    """The section that the first of these folders names that names one, 00 where none does."""
    return next(filter(None, map(section_of, folders)), "00")


def names_fault(name: str, anomalous: frozenset[str] = ANOMALOUS) -> bool:
    """Whether a name holds a word for an anomaly that is not denied (`pump_faulty`), or denies one for normal.

    A denial is of the next of these words (`no visible fault`), or of the one right before it (`fault free`).

    Example:
        >>> [names_fault(name) for name in ("not ok", "fault, no load", "no_load_fault", "ok, without defects")]
        [True, True, True, False]
        >>> [names_fault(name) for name in ("fault detection", "Anomalous-Sound-Detection", "detection of a fault")]
        [False, False, True]
    """
    words = [word for word in _words(_joined(name.lower())) if word not in _FILLERS]
    is_denied = False
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        if word in NORMAL or (word in anomalous and after not in _TASKS):
            if (word in anomalous) != (is_denied or after == "free"):  # a fault that is not denied, or normal that is
                return True
            is_denied = False
        elif word in _NEGATIONS and after not in _LOADS:
            is_denied = word != "free" or (before not in NORMAL and before not in anomalous)  # else it is of `before`
    return False


def perhaps_faults(clips: Sequence[Clip]) -> list[str]:
    """A sentence on clips to learn from whose names, below the folder of all, may be those of faults; else nothing."""
    paths = [clip.path.absolute() for clip in clips]
    top = commonpath([path.parent for path in paths]) if paths else ""
    places = [path.relative_to(top) for path in paths]
    found = [str(p) for p in places if any(names_fault(part, _PERHAPS_FAULTS) for part in p.with_suffix("").parts)]
    if not found:
        return []
    return [
        f"{len(found)} of {len(clips)} training clips may be of a fault by their names ({named(found)}), and all are "
        f"learnt as normal: a fault that was learnt hides faults like it; leave those out"
    ]


def may_be_normal(name: str) -> bool:
    """Whether a name holds a word for normal, or denies an anomaly: `normal_2`, `fault free`."""
    words = {*_words(name.lower())}
    return bool(words & NORMAL or (words & ANOMALOUS and words & _NEGATIONS))


def _words(lower: str) -> list[str]:
    numbered = re.sub(r"(?<![^\W\d_])no(?=[\W_]*\d)", "", lower)  # `pump no. 3` denies nothing
    return re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", numbered))


def _joined(lower: str) -> str:
    """A text with abbreviations as one word: `io` of `i.o.` and `i. o.`, `nio` of `n.i.o.`."""
    letter = r"[^\W\d_]"
    lone = rf"(?<!{letter}){letter}(?:\. ?{letter}(?!{letter}))+\.?"
    return re.sub(lone, lambda match: re.sub("[. ]", "", match[0]), lower)


_MEANINGS: dict[str, str] = {
    **dict.fromkeys(NORMAL, Label.NORMAL),
    **dict.fromkeys(ANOMALOUS, Label.ANOMALY),
    **dict.fromkeys(TRAINING, Split.TRAIN),
    **dict.fromkeys(TESTING, Split.TEST),
    **dict.fromkeys(UNKNOWN, NOT_KNOWN),
    Domain.SOURCE.value: Domain.SOURCE,
    Domain.TARGET.value: Domain.TARGET,
}

_CELLS: dict[type[Label | Split | Domain], str] = {
    Label: "normal, anomaly, or nothing where it is not known",
    Split: "train, test, or nothing where it shall be decided",
    Domain: "source or target, or put a condition into the column section",
}
Cell = TypeVar("Cell", Label, Split, Domain)


def read_cell(word: str, kind: type[Cell], where: str) -> Cell | None:
    """The label, split or domain that a cell names, None where it names none; `AsdError` for a word of no meaning."""
    lower = _joined(word.lower())
    if not lower or (kind is Label and lower in UNKNOWN):
        return None
    meant = {"0": Label.NORMAL, "1": Label.ANOMALY}.get(re.sub(r"\.0+$", "", lower)) or _MEANINGS.get(lower)
    if isinstance(meant, kind):
        return meant
    raise AsdError(f"{where} has the {kind.__name__.lower()} {word!r}; write {_CELLS[kind]}")


def machine_names(places: Iterable[Parts]) -> dict[Parts, str]:
    """The name of each machine: its folder's, with the folders above where two are called the same, or by a number.

    Example:
        >>> machine_names([("hall 1", "fan"), ("hall 2", "fan"), ("hall 2", "pump")])
        {('hall 1', 'fan'): 'hall 1_fan', ('hall 2', 'fan'): 'hall 2_fan', ('hall 2', 'pump'): 'pump'}
    """
    every = dict.fromkeys(places)
    count = Counter(place[-1:] for place in every)
    unclear = {place for place in every if count[place[-1:]] > 1 or not any(map(str.isalpha, "".join(place[-1:])))}
    return {place: "_".join(place if place in unclear else place[-1:]) for place in every}


def is_called_by(machine: str, folders: Sequence[str]) -> bool:
    """Whether a machine is named after some of these folders, in their order, as by `machine_names`.

    Example:
        >>> [is_called_by("hall 1_fan", folders) for folders in (["hall 1", "2026", "fan"], ["hall 1", "pump"])]
        [True, False]
    """
    return any(
        machine == folder
        or (machine.startswith(f"{folder}_") and is_called_by(machine[len(folder) + 1 :], folders[i + 1 :]))
        for i, folder in enumerate(folders)
    )
