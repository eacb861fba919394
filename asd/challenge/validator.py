"""Finds every defect of a submission before it is sent, and describes each in a sentence.

Looks at one system's folder, at a zip, or at a folder of up to four systems' folders. Reads text only:
no torch, no pandas, a full package in a fraction of a second.

Args:
    year: whose names and rules hold.
"""

from __future__ import annotations

import csv
import difflib
import math
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asd.challenge.csv_files import is_header, parse_number, parse_rows
from asd.challenge.names import parse_name
from asd.challenge.submission import LABEL, LABEL_EXAMPLE, SYSTEM_FILE, Kind, kinds, output_name
from asd.challenge.system_meta import Meta, load_template, meta_defects, meta_warnings, parse_meta, shared_names
from asd.challenge.unpack import DAMAGED, HARMLESS_BYTES, honest_name
from asd.challenge.years import YEARS, Unit, Year, get_year
from asd.types import AsdError, Clip, Domain, Split

SYSTEMS_MAX = 4

Files = dict[str, bytes]  # name -> content
_READ = (".csv", ".yaml")  # nothing else is opened
_ALLOWED: Mapping[Kind, tuple[Callable[[float], bool], str]] = {  # which values, and what the others are
    "anomaly_score": (math.isfinite, "NaN or infinity"),
    "decision_result": ((0.0, 1.0).__contains__, "a decision other than 0 or 1"),
}


@dataclass(frozen=True)
class Findings:
    """What is wrong with a submission (defects) and what is left to fill in (warnings), in sentences."""

    defects: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Rules:
    """What the files of one system are held against."""

    year: Year
    template: Meta
    clips: Mapping[Unit, Collection[str] | None]  # None: the names are not known, only their number
    own_data: bool


def expected_files(clips: Iterable[Clip], year: Year) -> dict[Unit, set[str]]:
    """The file names that a submission for these test clips must list, unit by unit."""
    expected: dict[Unit, set[str]] = {}
    for clip in clips:
        domain = clip.domain if year.rule == "per_domain" else None
        expected.setdefault(Unit(clip.machine, clip.section, domain), set()).add(clip.name)
    return expected


def validate(
    path: Path, year: Year, *, expected: Mapping[Unit, Collection[str]] | None = None, template_file: Path | None = None
) -> Findings:
    """Everything that is wrong with a submission.

    Args:
        path: a system's folder, a zip, or a folder of systems' folders.
        expected: the clips of each unit, for data of one's own or a check to the last name (see
            `expected_files`); by default the evaluation set of the year: its machines, sections and counts.
        template_file: the organisers' meta template, in place of the built-in one of the year.

    Raises:
        AsdError: `path` is neither a folder nor a zip, or the template is none.
    """
    files = _read(path)
    label = path.stem if path.is_file() else os.path.basename(os.path.abspath(path))  # a link keeps its name
    systems, strays = _systems(files, label)
    clips = {Unit(*unit): names for unit, names in expected.items()} if expected else None
    template = load_template(year, template_file)
    rules = _Rules(year, template, clips or dict.fromkeys(year.eval_units()), own_data=clips is not None)
    defects = [f"{name} belongs to no system: remove it." for name in strays]
    if not systems:
        defects.append(f"{path} holds no system: expected {LABEL_EXAMPLE}/anomaly_score_*.csv in it.")
    if len(systems) > SYSTEMS_MAX:
        defects.append(f"{len(systems)} systems in one package: at most {SYSTEMS_MAX} are allowed.")
    defects += [
        f"{count} systems are called {label}: every system needs a label of its own."
        for label, count in Counter(label for label, _ in systems).items()
        if count > 1
    ]
    warnings: list[str] = []
    metas = {label: parse_meta(content.get(f"{label}.meta.yaml", b"")) for label, content in systems}
    for label, content in systems:
        defects += [f"{label}: {sentence}" for sentence in _system_defects(label, content, rules)]
        warnings += [f"{label}: {sentence}" for sentence in meta_warnings(metas[label])]
    return Findings(tuple(defects), (*warnings, *shared_names(metas)))


def _read(path: Path) -> Files:
    """All files under a folder or in a zip; the content only of those that are checked."""
    if path.is_dir():
        found = (file for file in sorted(path.rglob("*")) if file.is_file())
        return {
            file.relative_to(path).as_posix(): file.read_bytes() if file.name.endswith(_READ) else b"" for file in found
        }
    if not zipfile.is_zipfile(path):
        raise AsdError(f"{path} is neither a folder nor a zip file: name a submission, like {LABEL_EXAMPLE}.")
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [(str(honest_name(path, info)), info) for info in archive.infolist() if not info.is_dir()]
            if twice := [name for name, count in Counter(name for name, _ in infos).items() if count > 1]:
                raise zipfile.BadZipFile(f"it holds {twice[0]} twice")
            if sum(info.file_size for name, info in infos if name.endswith(_READ)) > HARMLESS_BYTES:
                raise zipfile.BadZipFile(f"its texts unpack to more than {HARMLESS_BYTES >> 20} MB")
            return {name: archive.read(info) if name.endswith(_READ) else b"" for name, info in infos}
    except (*DAMAGED, OSError) as error:
        raise AsdError(f"{path} cannot be read as a zip file ({error}): pack the submission anew.") from error


def _systems(files: Files, top: str) -> tuple[list[tuple[str, Files]], list[str]]:
    """Label and files of every system, and the files of none.

    A system is a folder with a score file or a meta file in it; `top` is the label of the outermost one.
    The technical report may lie anywhere, and the zips that `submit` and `bundle` write beside the systems' folders.
    """
    folders: dict[str, Files] = {}
    for name, content in files.items():
        folder, _, base = name.rpartition("/")
        folders.setdefault(folder, {})[base] = content
    systems: list[tuple[str, Files]] = []
    rest: list[str] = []
    for folder, members in sorted(folders.items()):
        if any(SYSTEM_FILE.fullmatch(base) for base in members):
            systems.append((folder.rpartition("/")[2] or top, members))
        else:
            rest += [f"{folder}/{base}".lstrip("/") for base in members]
    zips = {f"{name}.zip" for label, _ in systems for name in (label, label.rpartition("_")[0])}
    return systems, [name for name in rest if not name.endswith(".pdf") and name not in zips]


def _system_defects(label: str, files: Files, rules: _Rules) -> Iterator[str]:
    if not LABEL.fullmatch(label):
        yield f"the label is not [LastName]_[Institute]_task2_[1-4], like {LABEL_EXAMPLE}."
    wanted = {output_name(kind, unit, rules.year): (kind, unit) for unit in rules.clips for kind in kinds(rules.year)}
    present = {unit.machine for name, (_, unit) in wanted.items() if name in files}
    absent = {unit.machine for unit in rules.clips} - present
    for machine in sorted(absent):
        yield f"machine {machine} is missing: no score file of any of its sections is there."
    for name, (kind, unit) in wanted.items():
        if name in files:
            yield from _csv_defects(name, kind, unit, files[name], rules)
        elif unit.machine not in absent:
            yield f"{name} is missing."
    meta_name = f"{label}.meta.yaml"
    yield from _stray_defects(files, [*wanted, meta_name], rules.year)
    if meta_name not in files:
        yield f"{meta_name} is missing."
        return
    machines = () if rules.own_data else tuple(rules.year.dev)
    for sentence in meta_defects(parse_meta(files[meta_name]), rules.template, label, machines):
        yield f"{meta_name}: {sentence}"


def _stray_defects(files: Files, wanted: list[str], year: Year) -> Iterator[str]:
    developed = {
        output_name(kind, Unit(machine, section, domain), year): f"section {section} of {machine}"
        for machine, sections in year.dev.items()
        for section in sections
        for kind in kinds(year)
        for domain in Domain
    }
    published = {other: _names(get_year(other)) for other in YEARS}
    for name in sorted(files.keys() - {*wanted}):
        if not name.endswith(".pdf"):
            near = difflib.get_close_matches(name, [other for other in wanted if other not in files], n=1, cutoff=0.9)
            guess = f"should it be {near[0]}?" if near else "remove it."
            if others := [str(other) for other, names in published.items() if name in names]:
                guess = f"it is one of {' or '.join(others)}, is year={year.year} right?"
            if name in developed:
                guess = f"{developed[name]} is of the development set, score the evaluation set."
            yield f"{name} is not a file of a {year.year} submission: {guess}"


def _names(year: Year) -> set[str]:
    """The names of all score and decision files of a year."""
    return {output_name(kind, unit, year) for kind in kinds(year) for unit in year.eval_units()}


def _csv_defects(name: str, kind: Kind, unit: Unit, content: bytes, rules: _Rules) -> Iterator[str]:
    """Defects of one score or decision file: two columns, no header, one line per clip."""
    try:
        lines = list(enumerate(parse_rows(content.decode("utf-8")), start=1))
    except (UnicodeDecodeError, csv.Error) as error:
        yield f"{name} is not a text file of two columns: {error}."
        return
    if lines and len(lines[0][1]) == 2 and is_header(lines[0][1]):
        yield f"{name} has a header line ({','.join(lines[0][1])!r}): it must begin with the first clip."
        lines = lines[1:]
    if odd := [number for number, cells in lines if len(cells) != 2]:
        yield f"{name} has other than two columns in line {_first(odd)}."
    rows = [(number, cells[0], cells[1]) for number, cells in lines if len(cells) == 2]
    yield from _value_defects(name, kind, rows)
    files = [file for _, file, _ in rows]
    if doubled := sorted(file for file, count in Counter(files).items() if count > 1):
        yield f"{name} lists {_first(doubled)} more than once."
    known = rules.clips[unit]
    if unknown := [file for file in files if not (file in known if known else _belongs(file, unit))]:
        yield f"{name} lists {_first(unknown)}, which is not a clip of {' '.join(filter(None, unit))}."
    wanted = len(known) if known else rules.year.n_eval_clips(unit)
    if len(lines) != wanted:
        lacking = sorted({*known} - {*files}) if known else []
        which = f": it lacks {_first(lacking)}" if lacking else ""
        yield f"{name} has {len(lines)} rows in place of {wanted}{which}."


def _value_defects(name: str, kind: Kind, rows: list[tuple[int, str, str]]) -> Iterator[str]:
    values = {number: parse_number(text) for number, _, text in rows}
    if words := [number for number, value in values.items() if value is None]:
        yield f"{name} has no number in line {_first(words)}."
    is_allowed, what = _ALLOWED[kind]
    if wrong := [number for number, value in values.items() if value is not None and not is_allowed(value)]:
        yield f"{name} has {what} in line {_first(wrong)}."


def _belongs(file: str, unit: Unit) -> bool:
    """Whether a name is that of an evaluation clip of the unit; those tell no labels."""
    try:
        clip = parse_name(Path(file), unit.machine, Split.TEST)
    except AsdError:
        return False
    named = (clip.name, clip.section, clip.domain, clip.label)
    return named == (file, unit.section, unit.domain, None) and file.endswith(".wav")


def _first(found: Sequence[int] | Sequence[str]) -> str:
    """The first line or name, and how many more there are."""
    return f"{found[0]!r}" + (f" and {len(found) - 1} more" if len(found) > 1 else "")
