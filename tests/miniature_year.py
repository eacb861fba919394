"""A year of the challenge in small: synthetic machines in the archives, names and layouts of that year.

Two machines of 2020 have the machine IDs of the catalogue, those of 2021 `source_test/` and `target_test/`, those
of 2024 names with missing underscores and hidden attributes, those of 2026 two channels.
"""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from asd.challenge import files
from asd.challenge.names import format_name
from asd.challenge.years import Archive, Part, Unit, Year, get_year
from asd.synthetic import make_machines
from asd.types import Clip, Domain, Label, Split
from tests.archive_server import ArchiveServer
from tests.made_submission import evaluation_name, name_of_2020

Names = Mapping[Unit, list[tuple[str, Clip]]]  # published name of each evaluation clip, and what it is
WITHOUT_UNDERSCORES = {"RoboticArm", "BrushlessMotor"}


def publish_year(
    server: ArchiveServer,
    year: int,
    folder: Path,
    *,
    dev: Sequence[str] = (),
    evaluation: Sequence[str] = (),
    train_source: int = 12,
    train_target: int = 3,
    test_per_cell: int = 3,
    duration_s: float = 1.0,
    supplemental: int = 0,
) -> None:
    """Publish machines of a year: their archives, and the ground truth of the evaluation set.

    Args:
        server: where.
        year: whose machines, sections, archives and layout.
        folder: to make the clips in.
        dev, evaluation: machines of the two sets; names of the catalogue.
        train_source, train_target, test_per_cell, duration_s, supplemental: as for `make_machines`, of each section.
    """
    rules = get_year(year)
    sizes = {
        "train_source": train_source,
        "train_target": train_target,
        "test_per_cell": test_per_cell,
        "supplemental": supplemental,
    }
    for machine in dev:
        clips = _clips(folder / "dev", machine, rules.dev[machine], rules, duration_s, sizes)
        named = {_place(clip, _name(clip, i, rules), rules): clip for i, clip in enumerate(clips)}
        _publish(server, rules, "dev", machine, named)
    names: dict[Unit, list[tuple[str, Clip]]] = {}
    for machine in evaluation:
        clips = _clips(folder / "eval", machine, rules.eval[machine], rules, duration_s, sizes)
        trains = [clip for clip in clips if clip.split is not Split.TEST]
        named = {_place(clip, _name(clip, i, rules), rules): clip for i, clip in enumerate(trains)}
        _publish(server, rules, "eval_train", machine, named)
        hidden = _hidden([clip for clip in clips if clip.split is Split.TEST], machine, rules)
        named = {_place(clip, name, rules): clip for unit in hidden.values() for name, clip in unit}
        _publish(server, rules, "eval_test", machine, named)
        names |= hidden
    if evaluation:
        _publish_truth(server, rules, names)


def zipped(contents: Mapping[str, bytes]) -> bytes:
    """A zip file of these files."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return target.getvalue()


def _clips(
    root: Path, machine: str, sections: Sequence[str], year: Year, duration_s: float, sizes: Mapping[str, int]
) -> list[Clip]:
    """Clips of a machine, each section a machine of its own."""
    clips: list[Clip] = []
    for section in sections:
        place = root / section
        snr_db = 6.0 if sizes["supplemental"] else None  # only a hall has a sound of its own to record
        design = {"seed": int(section), "channels": year.channels}
        make_machines(place, [machine], duration_s=duration_s, snr_db=snr_db, **design, **sizes)
        for split in Split:
            clips += [replace(clip, section=section) for clip in files.list_clips(place, machine, split)]
    return clips


def _place(clip: Clip, name: str, year: Year) -> str:
    """Where a clip lies in the machine's folder."""
    by_domain = clip.split is Split.TEST and year.rule == "per_domain"
    return f"{clip.domain}_test/{name}" if by_domain else f"{clip.split}/{name}"


def _name(clip: Clip, number: int, year: Year) -> str:
    """The name under which a clip tells everything."""
    if clip.split is Split.SUPPLEMENTAL:
        return clip.name
    if year.rule == "per_id":
        return name_of_2020(clip.section, number, clip.label)
    attributes = {} if clip.machine in year.hidden_attributes else clip.attributes
    name = format_name(
        clip.section, number, split=clip.split, domain=clip.domain, label=clip.label, attributes=attributes
    )
    if clip.machine in WITHOUT_UNDERSCORES and clip.split is Split.TRAIN:
        return name.replace("_train_", "_train").replace("section_", "section")
    return name


def _hidden(clips: Sequence[Clip], machine: str, year: Year) -> Names:
    """Test clips under names that tell nothing but the section, and in 2021 the domain; in random order."""
    units: dict[Unit, list[Clip]] = {}
    for clip in clips:
        domain = clip.domain if year.rule == "per_domain" else None
        units.setdefault(Unit(machine, clip.section, domain), []).append(clip)
    return {
        unit: [
            (evaluation_name(year, unit, i), clip)
            for i, clip in enumerate(random.Random(str(unit)).sample(inside, len(inside)))
        ]
        for unit, inside in units.items()
    }


def _publish(server: ArchiveServer, year: Year, part: Part, machine: str, clips: Mapping[str, Clip]) -> None:
    contents = {f"{machine}/{name}": clip.path.read_bytes() for name, clip in clips.items()}
    archive = year.archive(part, machine)
    server.publish(archive.record, archive.file, zipped(contents))


def _publish_truth(server: ArchiveServer, year: Year, names: Names) -> None:
    if isinstance(year.truth, Archive):
        lines: list[str] = []
        for machine in dict.fromkeys(unit.machine for unit in names):
            lines.append(machine)
            for unit, clips in names.items():
                if unit.machine == machine:
                    lines += [
                        f"{name},{_name(clip, i, year)},{int(clip.label is Label.ANOMALY)}"
                        for i, (name, clip) in enumerate(clips)
                    ]
        server.publish(year.truth.record, year.truth.file, "\n".join([*lines, ""]).encode())
        return
    wrapper = f"{year.truth.name.rsplit('/', 1)[-1]}-{year.truth.commit}"
    contents = {f"{wrapper}/README.md": b"# evaluator\n", f"{wrapper}/evaluator.py": b"print()\n"}
    for unit, clips in names.items():
        domain = f"{unit.domain}_" if unit.domain else ""
        file = f"ground_truth_{unit.machine}_section_{unit.section}_{domain}test.csv"
        columns = {"data": [int(clip.label is Label.ANOMALY) for _, clip in clips]}
        if year.rule == "mixed":
            columns["domain"] = [int(clip.domain is Domain.TARGET) for _, clip in clips]
        for kind, values in columns.items():
            rows = [f"{name},{value}\n" for (name, _), value in zip(clips, values, strict=True)]
            contents[f"{wrapper}/ground_truth_{kind}/{file}"] = "".join(rows).encode()
    server.publish_repository(year.truth, zipped(contents))
