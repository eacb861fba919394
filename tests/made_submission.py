"""A made-up submission of any year: scores for every evaluation clip, facts, a user's own file; and damage."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import yaml

from asd.challenge.names import format_name
from asd.challenge.submission import write_submission
from asd.challenge.system_meta import SystemFacts, load_template, result_keys
from asd.challenge.years import Unit, Year
from asd.types import SCORE_COLUMNS, Label, Split

LABEL = "Tester_LAB_task2_1"
USER = {
    "submission": {
        "authors": [
            {
                "lastname": "Tester",
                "firstname": "Thea",
                "email": "thea@example.org",
                "corresponding": True,
                "affiliation": {"institution": "Laboratory", "department": None, "location": "Kyoto, Japan"},
            }
        ]
    }
}


def name_of_2020(section: str, number: int, label: Label | None = None) -> str:
    """The file name of 2020, which tells machine ID and number, and of labelled clips the label."""
    return "_".join(filter(None, (label, "id", section, f"{number:08d}"))) + ".wav"


def evaluation_name(year: Year, unit: Unit, number: int) -> str:
    """Name of an evaluation clip, in the spelling of the year."""
    if year.rule == "per_id":
        return name_of_2020(unit.section, number)
    split = Split.TEST if year.rule == "per_domain" else None
    return format_name(unit.section, number, split=split, domain=unit.domain)


def clip_names(year: Year, unit: Unit) -> list[str]:
    """Names of a unit's evaluation clips, in the spelling of the year."""
    return [evaluation_name(year, unit, number) for number in range(year.n_eval_clips(unit))]


def score_table(year: Year) -> pd.DataFrame:
    """Random scores for the whole evaluation set of a year."""
    draw = random.Random(year.year)
    rows = [
        (unit.machine, unit.section, unit.domain or "", "test", "", name, draw.gauss(0, 3), draw.randint(0, 1))
        for unit in year.eval_units()
        for name in clip_names(year, unit)
    ]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def facts(year: Year) -> SystemFacts:
    """What a run might know of itself."""
    figures = {key: 61.25 for key in result_keys(load_template(year))}
    return SystemFacts(
        name="Autoencoder",
        abbreviation="AE",
        sampling_rate_hz=16000,
        acoustic_features="log-mel energies",
        machine_learning_method="AE",
        total_parameters=267928,
        macs=82_000_000,
        results={machine: figures for machine in year.dev},
    )


def made_submission(folder: Path, year: Year, label: str = LABEL) -> Path:
    """Write a whole submission below `folder`; returns the system's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    user = folder.parent / "user.yaml"
    user.write_text(yaml.safe_dump(USER))
    return write_submission(score_table(year), facts(year), label=label, year=year, folder=folder, user_file=user)


def edit(file: str, change: Callable[[list[str]], object]) -> Callable[[Path], None]:
    """Damage that changes the lines of one file in place."""

    def damage(folder: Path) -> None:
        lines = (folder / file).read_text().splitlines()
        change(lines)
        (folder / file).write_text("".join(f"{line}\n" for line in lines))

    return damage


def replace_value(line: int, value: str) -> Callable[[list[str]], None]:
    """A change for `edit`: another value in one line (from 0)."""

    def change(lines: list[str]) -> None:
        lines[line] = f"{lines[line].split(',')[0]},{value}"

    return change


def replace_name(line: int, name: str) -> Callable[[list[str]], None]:
    """A change for `edit`: another file name in one line (from 0)."""

    def change(lines: list[str]) -> None:
        lines[line] = f"{name},{lines[line].split(',')[1]}"

    return change


def remove(pattern: str) -> Callable[[Path], None]:
    """Damage that deletes files."""

    def damage(folder: Path) -> None:
        for path in folder.glob(pattern):
            path.unlink()

    return damage


def add(name: str, content: bytes = b"") -> Callable[[Path], None]:
    """Damage that writes a file."""
    return lambda folder: (folder / name).write_bytes(content) and None
