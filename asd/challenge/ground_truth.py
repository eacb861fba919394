"""The organisers' ground truth of an evaluation set -> one row per test clip.

Two shapes of folder are read, whichever is there:

    eval_data_list.csv                              2020; published for the years since, too. The name of a
                                                    machine in a line of its own, then its clips: published
                                                    name, name that tells the label[, label 0 or 1]

    ground_truth_data/ground_truth_<unit>.csv       2021 and later: clip, 0 (normal) or 1 (anomaly)
    ground_truth_domain/ground_truth_<unit>.csv     2022 and later: clip, 0 (source) or 1 (target)
    ground_truth_attributes/ground_truth_<unit>.csv 2023 and later, optional: clip, name that tells the label,
                                                    under which a submission may list it too

where <unit> is e.g. fan_section_03_source_test (2021) or fan_section_00_test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from asd.challenge.csv_files import parse_number, read_numbers, read_rows
from asd.challenge.names import parse_name
from asd.challenge.years import Unit, Year
from asd.types import AsdError, Domain, Label, Split

Code = TypeVar("Code", Label, Domain)

_LIST_NAME = "eval_data_list.csv"
_FILE_NAME = re.compile(r"ground_truth_(.+)_section_(\d\d)_(?:(source|target)_)?test\.csv")
_LABELS: dict[float | None, Label] = {0.0: Label.NORMAL, 1.0: Label.ANOMALY}
_DOMAINS: dict[float | None, Domain] = {0.0: Domain.SOURCE, 1.0: Domain.TARGET}


@dataclass(frozen=True, slots=True)
class TrueClip:
    """What the organisers know of one test clip."""

    file: str  # the published name, which tells nothing
    label: Label
    domain: Domain | None  # None in 2020
    other_name: str | None = None  # the name that tells the label


GroundTruth = dict[Unit, list[TrueClip]]


def read_ground_truth(folder: Path, year: Year) -> GroundTruth:
    """The test clips of every unit that a submission of `year` must score.

    Units come in the order of the official result files: as listed in 2020, sorted from 2021 on.
    """
    if (folder / _LIST_NAME).is_file():
        truth = _read_list(_follow(folder / _LIST_NAME), year)
    elif (folder / "ground_truth_data").is_dir():
        truth = _read_folder(folder, year)
    else:
        raise AsdError(
            f"ground_truth={folder} holds neither {_LIST_NAME} nor ground_truth_data/: give the folder of "
            f"the organisers' evaluator of {year.year}"
        )
    if year.rule == "per_id":
        return truth
    return {unit: truth[unit] for unit in sorted(truth, key=lambda unit: (unit.machine, unit.section))}


def without_labels(truth: GroundTruth, year: Year) -> list[str]:
    """Machines of the year's evaluation set of which the ground truth lacks a section or all, sorted."""
    return sorted({unit.machine for unit in year.eval_units() if unit not in truth})


def _follow(path: Path) -> Path:
    """The file that `path` stands for: where links are unsupported, git writes one as its target's name."""
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        first, second = lines.readline().strip(), lines.readline()
    is_link = first.endswith(".csv") and not second and (path.parent / first).is_file()
    return path.parent / first if is_link else path


def _read_list(path: Path, year: Year) -> GroundTruth:
    truth: GroundTruth = {}
    listed: set[tuple[str, str]] = set()
    machine = None
    for line, row in enumerate(read_rows(path, (1, 2, 3)), start=1):
        if len(row) == 1:
            machine = row[0]
            continue
        if machine is None:
            raise AsdError(f"{path} starts with {','.join(row)!r} where the name of a machine belongs")
        clip = parse_name(Path(row[1]), machine, Split.TEST)
        if clip.label is None or (clip.domain is None and year.rule != "per_id"):
            raise AsdError(f"{path} has {row[1]!r}, which does not tell what {year.year} needs to know")
        if len(row) == 3 and _LABELS.get(parse_number(row[2])) is not clip.label:
            raise AsdError(f"{path} has the label {row[2]!r} for {row[1]} in line {line}: correct one of them")
        if (machine, row[0]) in listed:
            raise AsdError(f"{path} lists {row[0]} of {machine} twice, the second time in line {line}: delete one")
        listed.add((machine, row[0]))
        unit = Unit(machine, clip.section, clip.domain if year.rule == "per_domain" else None)
        truth.setdefault(unit, []).append(TrueClip(row[0], clip.label, clip.domain, row[1]))
    if not truth:
        raise AsdError(f"{path} lists no clip, only {machine!r}: it is not the published list")
    return truth


def _read_folder(folder: Path, year: Year) -> GroundTruth:
    truth: GroundTruth = {}
    for path in sorted((folder / "ground_truth_data").glob("ground_truth_*.csv")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None or (match[3] is None) == (year.rule == "per_domain"):
            raise AsdError(f"{path} is not named as ground truth of {year.year}: is year={year.year} right?")
        unit = Unit(match[1], match[2], Domain(match[3]) if match[3] else None)
        truth[unit] = _read_unit(folder, path, unit)
    if not truth:
        raise AsdError(f"{folder / 'ground_truth_data'} holds no ground_truth_*.csv")
    return truth


def _read_unit(folder: Path, label_path: Path, unit: Unit) -> list[TrueClip]:
    labels = _coded(label_path, _LABELS)
    domain_path = folder / "ground_truth_domain" / label_path.name
    domains = dict.fromkeys(labels, unit.domain) if unit.domain else _coded(domain_path, _DOMAINS)
    if labels.keys() != domains.keys():
        raise AsdError(f"{label_path} and {domain_path} do not list the same clips")
    other_path = folder / "ground_truth_attributes" / label_path.name
    other_rows = read_rows(other_path, (2, 3)) if other_path.is_file() else []  # 2024 adds a third column
    other_names = {row[0]: f"{row[1]}.wav" for row in other_rows}
    return [TrueClip(file, label, domains[file], other_names.get(file)) for file, label in labels.items()]


def _coded(path: Path, codes: Mapping[float | None, Code]) -> dict[str, Code]:
    """File name -> what its 0 or 1 stands for."""
    numbers = read_numbers(path)
    for file, number in numbers.items():
        if number not in codes:
            raise AsdError(f"{path} has {number} for {file} where 0 or 1 belongs")
    return {file: codes[number] for file, number in numbers.items()}
