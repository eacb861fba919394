"""Catalogue of DCASE Challenge Task 2, 2020-2026: machines, sections, channels, metric rule, archives.

Everything that differs between years and is plain data lives here; every other module asks `get_year`.

Source: the task pages and data set records of each year, and the organisers' evaluators. Clip counts of
the evaluation sets 2020-2025 are those of the published lists of evaluation clips; for 2026 the task page.

Args:
    part: of a year's data.
    machine: its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from asd.types import AsdError, Domain

MetricRule = Literal["per_id", "per_domain", "mixed"]
"""How AUC and pAUC choose their clips.

per_id: all clips of one machine ID (2020). per_domain: the clips of one section and one domain (2021).
mixed: per section, the normal clips of one domain against the anomalies of both (2022 and later).
"""

MAX_FPR = 0.1  # where pAUC ends, in every year

Part = Literal["dev", "eval_train", "eval_test"]
Sections = Mapping[str, tuple[str, ...]]  # machine -> its sections


class Unit(NamedTuple):
    """What one score file covers: a section of a machine; in 2021 also one domain of it."""

    machine: str
    section: str
    domain: Domain | None = None


class Archive(NamedTuple):
    """One published zip file: the archive record that holds it, and its name there."""

    record: int
    file: str


class Repository(NamedTuple):
    """A published code repository at one state of it."""

    name: str  # owner and repository
    commit: str


@dataclass(frozen=True)
class Records:
    """Record numbers of a year's three releases, and how their zip files are called."""

    dev: int
    eval_train: int
    eval_test: int
    dev_file: str = "dev_{machine}.zip"
    eval_train_file: str = "eval_data_{machine}_train.zip"
    eval_test_file: str = "eval_data_{machine}_test.zip"
    replaced: Mapping[tuple[Part, str], str] = field(default_factory=dict)  # re-issued files only


@dataclass(frozen=True)
class Year:
    """What the challenge of one year says. Machine names are spelt as in its folders and score files."""

    year: int
    dev: Sections
    eval: Sections
    records: Records
    truth: Archive | Repository  # labels of the evaluation set: a list, or the organisers' evaluator
    rule: MetricRule = "mixed"
    sample_rate_hz: int = 16000
    channels: int = 1  # 2026: channel 0 is near the machine, channel 1 far from it
    decisions: bool = True  # whether decision_result files are part of a submission
    hidden_attributes: frozenset[str] = frozenset()  # machines published without attributes
    eval_clips: int = 200  # test clips of a unit of the evaluation set, unless listed in the next field
    eval_clips_of: Mapping[Unit, int] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Default folder of everything that is published for the year."""
        return Path(f"data/dcase{self.year}t2")

    @property
    def dev_root(self) -> Path:
        """Default folder that holds `<machine>/{train,test}` of the development set."""
        return self.folder / "dev_data/raw"

    @property
    def eval_root(self) -> Path:
        """Default folder that holds `<machine>/{train,test}` of the evaluation set."""
        return self.folder / "eval_data/raw"

    @property
    def truth_root(self) -> Path:
        """Default folder of the ground truth of the evaluation set."""
        return self.folder / "eval_data/ground_truth"

    def eval_units(self) -> tuple[Unit, ...]:
        """Every unit that a submission must score, in catalogue order."""
        domains = tuple(Domain) if self.rule == "per_domain" else (None,)
        return tuple(
            Unit(machine, section, domain)
            for machine, sections in self.eval.items()
            for section in sections
            for domain in domains
        )

    def n_eval_clips(self, unit: Unit) -> int:
        """Number of test clips of one unit of the evaluation set."""
        return self.eval_clips_of.get(unit, self.eval_clips)

    def sections(self, part: Part) -> Sections:
        """The sections of each machine in a part of the data."""
        return {"dev": self.dev, "eval_train": self.eval, "eval_test": self.eval}[part]

    def archive(self, part: Part, machine: str) -> Archive:
        """Where the zip file of one machine is published; `AsdError` for one that is not in that part of the data."""
        machines = self.sections(part)
        if machine not in machines:
            raise AsdError(f"{machine!r} is not in the {part} data of {self.year}: {', '.join(machines)}")
        record: int = getattr(self.records, part)
        pattern: str = getattr(self.records, f"{part}_file")
        return Archive(record, self.records.replaced.get((part, machine), pattern.format(machine=machine)))


def revision(name: str) -> tuple[str, int]:
    """What a file is called in every release, and its release: dev_fan_r2.zip is ("dev_fan.zip", 2)."""
    stem, dot, suffix = name.partition(".")
    plain, mark, number = stem.rpartition("_r")
    return (plain + dot + suffix, int(number)) if mark and number.isdecimal() else (name, 1)


def get_year(year: int) -> Year:
    """The catalogue entry of a year; `AsdError` for one that it does not know."""
    if year not in _YEARS:
        raise AsdError(f"year={year!r} is not in the catalogue: choose one of {', '.join(map(str, _YEARS))}")
    return _YEARS[year]


def _every(machines: str, *sections: str) -> dict[str, tuple[str, ...]]:
    """The same sections for all machines of a space-separated list."""
    return dict.fromkeys(machines.split(), sections)


_2021_MACHINES = "ToyCar ToyTrain fan gearbox pump slider valve"
_2022_MACHINES = "ToyCar ToyTrain bearing fan gearbox slider valve"  # the development set until 2025

_2020_EVAL = {  # machine -> test clips of each machine ID
    "ToyCar": {"05": 515, "06": 515, "07": 515},
    "ToyConveyor": {"04": 555, "05": 555, "06": 555},
    "fan": {"01": 426, "03": 458, "05": 458},
    "pump": {"01": 216, "03": 213, "05": 348},
    "slider": {"01": 278, "03": 278, "05": 278},
    "valve": {"01": 220, "03": 220, "05": 500},
}

_CATALOGUE = (
    Year(
        2020,
        dev={
            "ToyCar": ("01", "02", "03", "04"),
            "ToyConveyor": ("01", "02", "03"),
            **_every("fan pump slider valve", "00", "02", "04", "06"),
        },
        eval={machine: tuple(clips) for machine, clips in _2020_EVAL.items()},
        records=Records(
            dev=3678171,
            eval_train=3727685,
            eval_test=3841772,
            dev_file="dev_data_{machine}.zip",
            eval_train_file="eval_data_train_{machine}.zip",
            eval_test_file="eval_data_test_{machine}.zip",
        ),
        truth=Archive(3951620, "eval_data_list.csv"),
        rule="per_id",
        decisions=False,
        eval_clips_of={Unit(m, section): n for m, clips in _2020_EVAL.items() for section, n in clips.items()},
    ),
    Year(
        2021,
        dev=_every(_2021_MACHINES, "00", "01", "02"),
        eval=_every(_2021_MACHINES, "03", "04", "05"),
        records=Records(dev=4562016, eval_train=4660992, eval_test=4884786, dev_file="dev_data_{machine}.zip"),
        truth=Repository("y-kawagu/dcase2021_task2_evaluator", "178746837e5ffe46f8c8bfc6498e7d538b25bc41"),
        rule="per_domain",
        eval_clips_of={
            Unit("gearbox", "03", Domain.SOURCE): 234,
            Unit("gearbox", "03", Domain.TARGET): 286,
            Unit("gearbox", "04", Domain.SOURCE): 252,
            Unit("gearbox", "04", Domain.TARGET): 234,
            Unit("gearbox", "05", Domain.SOURCE): 210,
            Unit("gearbox", "05", Domain.TARGET): 212,
            Unit("slider", "05", Domain.SOURCE): 204,
            Unit("slider", "05", Domain.TARGET): 203,
        },
    ),
    Year(
        2022,
        dev=_every(_2022_MACHINES, "00", "01", "02"),
        eval=_every(_2022_MACHINES, "03", "04", "05"),
        records=Records(dev=6355122, eval_train=6462969, eval_test=6586456),
        truth=Repository("Kota-Dohi/dcase2022_evaluator", "de8719b7d35280ff3a39487c9d1003413eef7818"),
    ),
    Year(
        2023,
        dev=_every(_2022_MACHINES, "00"),
        eval=_every("ToyDrone ToyNscale ToyTank Vacuum bandsaw grinder shaker", "00"),
        records=Records(dev=7882613, eval_train=7830345, eval_test=7860847),
        truth=Repository("nttcslab/dcase2023_task2_evaluator", "3aa8a9fe09a9a55d9dccb74fd4f17ba9791fb5ea"),
    ),
    Year(
        2024,
        dev=_every(_2022_MACHINES, "00"),
        eval=_every(
            "3DPrinter AirCompressor BrushlessMotor HairDryer HoveringDrone RoboticArm Scanner ToothBrush ToyCircuit",
            "00",
        ),
        records=Records(
            dev=10902294,
            eval_train=11259435,
            eval_test=11363076,
            replaced={
                ("eval_train", "3DPrinter"): "eval_data_3DPrinter_train_r2.zip",
                ("eval_train", "RoboticArm"): "eval_data_RoboticArm_train_r2.zip",
            },
        ),
        truth=Repository("nttcslab/dcase2024_task2_evaluator", "b5d17f63769bf4372a5412a7ede1f814c9590047"),
        hidden_attributes=frozenset(
            {"ToyTrain", "gearbox", "slider", "AirCompressor", "BrushlessMotor", "HoveringDrone", "ToothBrush"}
        ),
    ),
    Year(
        2025,
        dev=_every(_2022_MACHINES, "00"),
        eval=_every("AutoTrash BandSealer CoffeeGrinder HomeCamera Polisher ScrewFeeder ToyPet ToyRCCar", "00"),
        records=Records(dev=15097779, eval_train=15392814, eval_test=15519362),
        truth=Repository("nttcslab/dcase2025_task2_evaluator", "main"),
        hidden_attributes=frozenset(
            {"ToyTrain", "bearing", "slider", "AutoTrash", "Polisher", "ScrewFeeder", "ToyPet"}
        ),
    ),
    Year(
        2026,
        dev=_every("ToyCar ToyCarEmu bearingEmu fan gearboxEmu sliderEmu valveEmu", "00"),
        eval=_every("BlowerDustCollector Sander SewingMachine ToothBrush ToyDrone", "00"),
        records=Records(
            dev=19336329, eval_train=20151556, eval_test=20437238, replaced={("dev", "ToyCar"): "dev_ToyCar_r2.zip"}
        ),
        truth=Repository("nttcslab/dcase2026_task2_evaluator", "f6a94a2b5e614a9626c9d1ccff6df0705e6aaa75"),
        channels=2,
        hidden_attributes=frozenset({"ToyCar", "bearingEmu", "sliderEmu", "valveEmu", "SewingMachine", "ToothBrush"}),
    ),
)
_YEARS = {entry.year: entry for entry in _CATALOGUE}

YEARS = tuple(_YEARS)
"""The years of the catalogue, ascending."""
