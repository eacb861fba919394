"""Write synthetic machines as the organisers lay them out.

<root>/<machine>/{train,test}/section_00_source_train_normal_0000_speed_1000.wav, attributes_00.csv
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asd.challenge.csv_files import csv_text
from asd.core.files import atomic
from asd.data.codecs import write_wav
from asd.synthetic.design import FAULTS, Design, Health, draw_design, generator
from asd.synthetic.hall import Content, Hall, draw_hall, record_in_hall
from asd.synthetic.sound import render_clip
from asd.types import AsdError, Domain, Label, Split

RECIPE_FILE = "synthetic.json"  # beside train/ and test/: what the machine was made with
GENERATOR_VERSION = 1  # raise it with every change that alters a sample
_Cell = tuple[Split, Domain, Label, Content]  # of a machine's clips


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what a machine's folder holds, to the byte (on one kind of processor)."""

    machine: str  # any name of letters and digits; with the seed it decides what the machine is
    train_source: int = 90  # normal training clips of the source; the challenge has 990
    train_target: int = 10  # and of the target
    test_per_cell: int = 10  # test clips per domain and label; the challenge has 50
    duration_s: float = 4.0  # of every clip
    sample_rate_hz: int = 16000
    seed: int = 0  # whatever the counts, it gives the same clips
    channels: int = 1  # or 2, a near and a far microphone as in 2026
    snr_db: float | None = None  # over the noise of a hall (see `hall`) at the near one; None: in the scenes of `sound`
    supplemental: int = 0  # clips of the machine alone, and as many of the hall alone; needs `snr_db`
    version: int = GENERATOR_VERSION


def make_machines(root: Path, machines: Sequence[str] = ("fan", "gearbox", "valve"), **recipe: Any) -> list[Path]:
    """Makes a folder per machine under a data folder by a `Recipe`, and returns the folders.

    A machine appears under its name only when complete; one already made from the same recipe is left as it is.
    """
    folders = []
    for machine in machines:
        own = Recipe(machine=machine, **recipe)
        _check(own)
        folder = root / machine
        if folder.exists():
            _check_same(folder, own)
        else:
            with atomic(folder) as made:
                _write(made, own)
        folders.append(folder)
    return folders


def _check(recipe: Recipe) -> None:
    if not re.fullmatch(r"[A-Za-z0-9]+", recipe.machine):
        raise AsdError(f"machine name {recipe.machine!r} must consist of letters and digits, like 'fan'")
    least = {"train_source": 1, "train_target": 0, "test_per_cell": 1, "sample_rate_hz": 8000}
    for name, smallest in (least | {"seed": 0, "supplemental": 0}).items():
        if getattr(recipe, name) < smallest:
            raise AsdError(f"{name}={getattr(recipe, name)} is too small: it must be at least {smallest}")
    if not 0.1 <= recipe.duration_s <= 600:
        raise AsdError(f"duration_s={recipe.duration_s} must lie between 0.1 and 600 seconds")
    if recipe.supplemental and recipe.snr_db is None:
        raise AsdError(f"supplemental={recipe.supplemental} needs a hall to record: give snr_db, too")
    if recipe.snr_db is not None and not -40 <= recipe.snr_db <= 40:
        raise AsdError(f"snr_db={recipe.snr_db} must lie between -40 and 40 dB")
    if recipe.channels not in (1, 2):
        raise AsdError(f"channels={recipe.channels} must be 1, or 2 for a near and a far microphone")


def _check_same(folder: Path, recipe: Recipe) -> None:
    """Accept a finished machine from the same recipe; never touch anything else."""
    path = folder / RECIPE_FILE
    if not path.is_file():
        raise AsdError(f"{folder} exists and was not made here (no {RECIPE_FILE}): choose another folder")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        different = [key for key, value in asdict(recipe).items() if found[key] != value]
    except (ValueError, TypeError, LookupError) as error:
        raise AsdError(f"{path} is not a recipe ({error!r}): remove {folder} to make it anew") from error
    if different:
        changes = ", ".join(f"{key}={found[key]}" for key in different)
        raise AsdError(f"{folder} was made with {changes}: remove it to make it anew, or choose another folder")


def _write(folder: Path, recipe: Recipe) -> None:
    design = draw_design(recipe.machine, recipe.seed)
    hall = None if recipe.snr_db is None else draw_hall(recipe.machine, recipe.seed, recipe.sample_rate_hz)
    clips = [(cell, index) for cell, count in _cells(recipe) for index in range(count)]
    for split in {split for (split, *_), _ in clips}:
        (folder / split).mkdir(parents=True, exist_ok=True)
    rows = [_write_clip(folder, design, hall, recipe, *clip) for clip in clips]
    (folder / "attributes_00.csv").write_text(csv_text([("file_name", "d1p", "d1v"), *rows]), encoding="utf-8")
    (folder / RECIPE_FILE).write_text(json.dumps(asdict(recipe), indent=2) + "\n", encoding="utf-8")


def _cells(recipe: Recipe) -> Iterator[tuple[_Cell, int]]:
    """Yield every kind of clip with its count."""
    yield (Split.TRAIN, Domain.SOURCE, Label.NORMAL, "both"), recipe.train_source
    yield (Split.TRAIN, Domain.TARGET, Label.NORMAL, "both"), recipe.train_target
    for domain in Domain:
        for label in Label:
            yield (Split.TEST, domain, label, "both"), recipe.test_per_cell
    n_target = recipe.supplemental // 2
    for content in ("machine", "noise"):
        yield (Split.SUPPLEMENTAL, Domain.SOURCE, Label.NORMAL, content), recipe.supplemental - n_target
        yield (Split.SUPPLEMENTAL, Domain.TARGET, Label.NORMAL, content), n_target


def _write_clip(
    folder: Path, design: Design, hall: Hall | None, recipe: Recipe, cell: _Cell, index: int
) -> tuple[str, str, str]:
    """Write one clip; return its row of the attributes file."""
    split, domain, label, content = cell
    alone = (content,) if content != "both" else ()  # of the supplemental clips
    rng = generator("clip", recipe.seed, recipe.machine, split, domain, label, index, *alone)
    scene = design.scenes[domain]
    speed_rpm = scene.speeds_rpm[index % len(scene.speeds_rpm)]
    fault = list(FAULTS.values())[index % len(FAULTS)]  # every kind as often as the others
    severity = rng.uniform()
    health = fault(severity) if label is Label.ANOMALY else Health()
    how: dict[str, Any] = {"speed_rpm": speed_rpm, "duration_s": recipe.duration_s}
    if hall and recipe.snr_db is not None:
        both = record_in_hall(hall, design, domain, health, rng, snr_db=recipe.snr_db, content=content, **how)
        waveform = both[: recipe.channels]
    else:
        how |= {"sample_rate_hz": recipe.sample_rate_hz, "channels": recipe.channels}
        waveform = render_clip(design, scene, health, rng, **how)
    attribute = ("noAttribute", "") if content == "noise" else ("speed", str(speed_rpm))
    words = (domain, split, label) if not alone else (content, domain, split)
    name = "_".join(filter(None, ("section_00", *words, f"{index:04d}", *attribute))) + ".wav"
    write_wav(folder / split / name, waveform, recipe.sample_rate_hz)
    return f"{recipe.machine}/{split}/{name}", *attribute
