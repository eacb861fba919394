"""Submission package: the year's score and decision files, the meta file, a reproducible zip; and several in one.

score table ─► <folder>/<label>/anomaly_score_*.csv, decision_result_*.csv, <label>.meta.yaml
               <folder>/<label>.zip
up to four  ─► <folder>/<team>_task2.zip    task2/<label>/..., task2/<team>.technical_report.pdf

Args:
    kind: scores or decisions.
    unit: machine and section; in 2021 a domain, too.
    year: decides names and number of the files.
    label: `[LastName]_[Institute]_task2_[1-4]`.
    team: `[LastName]_[Institute]`, with which the labels of its systems begin.
    folder: where submissions are kept.
    path, files: of a zip, and content by name inside it.
"""

from __future__ import annotations

import hashlib
import math
import re
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml

from asd.challenge.csv_files import csv_text
from asd.challenge.system_meta import SystemFacts, fill_meta, load_meta, load_template
from asd.challenge.years import Unit, Year
from asd.core.files import remove
from asd.types import SCORE_COLUMNS, AsdError, Domain, Split

if TYPE_CHECKING:  # the validator shares this module and must start in an instant
    import pandas as pd

Kind = Literal["anomaly_score", "decision_result"]

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: the same files give the same bytes

TEAM = re.compile(r"[A-Za-z][A-Za-z-]*_[A-Za-z0-9-]+")
LABEL = re.compile(r"[A-Za-z][A-Za-z-]*_[A-Za-z0-9-]+_task2_[1-4]")
LABEL_EXAMPLE = "Nishida_HIT_task2_1"
SYSTEM_FILE = re.compile(r"(anomaly_score|decision_result)_.*\.csv|[^.].*\.meta\.yaml")


def output_name(kind: Kind, unit: Unit, year: Year) -> str:
    """The file name that the evaluator of the year expects for one unit."""
    pattern = {
        "per_id": "{kind}_{machine}_id_{section}.csv",
        "per_domain": "{kind}_{machine}_section_{section}_{domain}_test.csv",
        "mixed": "{kind}_{machine}_section_{section}_test.csv",
    }[year.rule]
    return pattern.format(kind=kind, **unit._asdict())


def kinds(year: Year) -> tuple[Kind, ...]:
    """The kinds of CSV files that make up a submission of the year."""
    return ("anomaly_score", "decision_result") if year.decisions else ("anomaly_score",)


def check_label(label: str) -> None:
    """Raise AsdError unless the label is `[LastName]_[Institute]_task2_[1-4]`."""
    if not LABEL.fullmatch(label):
        raise AsdError(
            f"label={label!r} is not [LastName]_[Institute]_task2_[1-4] in letters from A to Z: write it like "
            f"{LABEL_EXAMPLE}."
        )


def write_submission(
    table: pd.DataFrame,
    facts: SystemFacts,
    *,
    label: str,
    year: Year,
    folder: Path = Path("submissions"),
    user_file: Path | None = None,
    template_file: Path | None = None,
) -> Path:
    """Write `<folder>/<label>/` and `<folder>/<label>.zip`, in place of earlier ones; return the former.

    Everything is written beside its final place first: a failure leaves what was there before. Only an earlier
    package of the same label is replaced.

    Args:
        table: one row per clip, columns `SCORE_COLUMNS`; only the rows of the test split are written.
        facts: what the run knows, for the meta file.
        user_file: YAML in the layout of the template: authors and the like.
        template_file: a meta template in place of the built-in one of the year.

    Raises:
        AsdError: a bad label, a score table that is incomplete or not finite, a bad YAML file, a full disk, or
            something else than an earlier package in its place.
    """
    check_label(label)
    user = load_meta(user_file) if user_file else None
    meta = fill_meta(load_template(year, template_file), facts, label, user)
    files = {
        **_output_files(table, year),
        f"{label}.meta.yaml": yaml.safe_dump(meta, sort_keys=False, allow_unicode=True, width=110),
    }
    _refuse_what_is_no_package(folder, label)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{label}.", dir=folder) as workshop:
            new = Path(workshop) / "new"
            (new / label).mkdir(parents=True)
            for name, text in files.items():
                (new / label / name).write_text(text, encoding="utf-8", newline="\n")
            packed = {f"task2/{label}/{name}": text.encode() for name, text in files.items()}
            write_zip(new / f"{label}.zip", packed)
            _replace(new, Path(workshop) / "old", folder)
    except OSError as error:
        what = f"cannot write {folder / label}: {error.strerror or error}"
        raise AsdError(f"{what}; the earlier one, if any, is untouched; free some space, or choose out=") from error
    return folder / label


def _refuse_what_is_no_package(folder: Path, label: str) -> None:
    """Raises AsdError where the place of a package holds what no package holds: it would be lost."""
    package, zipped = folder / label, folder / f"{label}.zip"
    strange = [path for path in (package.iterdir() if package.is_dir() else []) if not SYSTEM_FILE.fullmatch(path.name)]
    if package.exists() and not package.is_dir():
        strange.append(package)
    if zipped.exists() and not _is_archive_of(zipped, label):
        strange.append(zipped)
    if strange:
        raise AsdError(
            f"{min(strange)} is no file of a package and would be lost: move it away, or choose another label= or out="
        )
    if edited := _edited(package, zipped) if package.is_dir() and zipped.exists() else []:
        raise AsdError(
            f"{edited[0]} was edited after it was packaged, and the edit would be lost: move {package} away; a file "
            "for authors= may hold any key of the meta file"
        )


def _edited(package: Path, zipped: Path) -> list[Path]:
    """Files of a package that are not as in the archive that was written with it."""
    with zipfile.ZipFile(zipped) as archive:
        written = {Path(info.filename).name: info.CRC for info in archive.infolist()}
    files = [path for path in sorted(package.iterdir()) if path.is_file()]
    return [path for path in files if zlib.crc32(path.read_bytes()) != written.get(path.name)]


def _is_archive_of(path: Path, label: str) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(name.startswith(f"task2/{label}/") for name in archive.namelist())


def _output_files(table: pd.DataFrame, year: Year) -> dict[str, str]:
    """File name -> text of every score and decision file of a score table."""
    if missing := [column for column in SCORE_COLUMNS if column not in table]:
        raise AsdError(f"the score table has no column {', '.join(missing)}: score the run again.")
    rows = table[table["split"] == Split.TEST]
    if rows.empty:
        raise AsdError("the score table has no test rows: score the run's test clips first.")
    groups: dict[Unit, list[tuple[str, float, float]]] = {}
    columns = ("machine", "section", "domain", "file", "score", "decision")
    for machine, section, domain, file, score, decision in rows[list(columns)].itertuples(index=False):
        if not re.fullmatch(r"\d{2}", str(section)):
            raise AsdError(f"{file} is of section {section!r}: read the score table with sections as text ('00').")
        unit = Unit(str(machine), str(section), _unit_domain(year, domain, file))
        groups.setdefault(unit, []).append((str(file), float(score), float(decision)))
    files: dict[str, str] = {}
    for unit, clips in sorted(groups.items()):
        _check_rows(unit, clips, year)
        files[output_name("anomaly_score", unit, year)] = csv_text(sorted((file, repr(s)) for file, s, _ in clips))
        if year.decisions:
            decided = sorted((file, str(int(decision))) for file, _, decision in clips)
            files[output_name("decision_result", unit, year)] = csv_text(decided)
    return files


def _unit_domain(year: Year, domain: object, file: object) -> Domain | None:
    """The domain where the year's files are split by it; unknown domains are empty cells, read as NaN."""
    if year.rule != "per_domain":
        return None
    if domain not in {*Domain}:
        raise AsdError(f"{file} has no domain ({domain!r}): submissions of {year.year} are split by domain.")
    return Domain(str(domain))


def _check_rows(unit: Unit, clips: list[tuple[str, float, float]], year: Year) -> None:
    where = " ".join(filter(None, (unit.machine, "section", unit.section, unit.domain)))
    seen: set[str] = set()
    for file, score, decision in clips:
        if file in seen:
            raise AsdError(f"{where}: {file} is in the score table twice.")
        seen.add(file)
        if not math.isfinite(score):
            raise AsdError(f"{where}: the score of {file} is {score!r}: every score must be finite.")
        if year.decisions and decision not in {0, 1}:
            raise AsdError(f"{where}: the decision on {file} is {decision!r}: it must be 0 or 1.")


def _replace(new: Path, old: Path, folder: Path) -> None:
    """Put everything in `new` into `folder`; what it replaces goes to `old`, and comes back on failure."""
    old.mkdir()
    names = sorted(path.name for path in new.iterdir())
    try:
        for name in names:
            if (folder / name).exists():
                (folder / name).rename(old / name)
            (new / name).rename(folder / name)
    except BaseException:
        for name in names:
            if not (new / name).exists():
                remove(folder / name)
            if (old / name).exists():
                (old / name).rename(folder / name)
        raise


@dataclass(frozen=True)
class Listing:
    """What an archive holds: (name, bytes, lines) of each file, lines only of text, and its size and hash."""

    entries: tuple[tuple[str, int, int | None], ...]
    n_bytes: int
    sha256: str


def write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    """Writes a zip whose bytes depend on names and contents only; its folder must exist."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name], compresslevel=9)


def list_zip(path: Path) -> Listing:
    """What a zip holds, for a person to look over."""
    entries = []
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            lines = archive.read(info).count(b"\n") if info.filename.endswith((".csv", ".yaml")) else None
            entries.append((info.filename, info.file_size, lines))
    content = path.read_bytes()
    return Listing(tuple(entries), len(content), hashlib.sha256(content).hexdigest())


def systems_of(folder: Path, team: str) -> list[Path]:
    """Folders of a team's packaged systems, in order; `AsdError` for a bad name of a team, or where there is none."""
    if not TEAM.fullmatch(team):
        raise AsdError(f"team={team!r} is not [LastName]_[Institute], like Nishida_HIT")
    if found := [path for path in sorted(folder.glob(f"{team}_task2_[1-4]")) if path.is_dir()]:
        return found
    raise AsdError(f"{folder} holds no system of team={team}; `submit name=RUN label={team}_task2_1` packages one")


def archive_files(systems: list[Path], team: str, report: Path | None) -> dict[str, bytes]:
    """Name -> content of everything in the archive of systems, whose folders `submit` wrote, with the report if any.

    `AsdError` where the report is missing or no PDF.
    """
    files = {
        f"task2/{system.name}/{path.name}": path.read_bytes() if path.is_file() else b""  # then it is a defect
        for system in systems
        for path in sorted(system.iterdir())
    }
    if report is not None:
        try:
            content = report.read_bytes()
        except OSError as error:
            raise AsdError(f"report={report} cannot be read ({error.strerror}); name a PDF file") from error
        if not content.startswith(b"%PDF"):
            raise AsdError(f"report={report} is not a PDF file; export the technical report as PDF")
        files[f"task2/{team}.technical_report.pdf"] = content
    return files
