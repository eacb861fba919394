"""The walk of docs/challenge.md: its `make` lines as they stand, in its order, on a stand-in of each year.

Two differences from a competitor's morning: `make data` also gets the address of a server on this machine, and the
catalogue of the year is cut down to two machines of either set with four test clips each.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from asd.challenge import years
from asd.challenge.validator import validate
from asd.challenge.years import get_year
from asd.core.files import read_json
from tests.archive_server import ArchiveServer, serving
from tests.command import Answer, succeeds
from tests.miniature_year import publish_year
from tests.tiny_encoders import beats_pt

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/challenge.md").read_text()
# One machine with attributes and one without, in either set.
MACHINES = {
    2022: (["bearing", "valve"], ["bearing", "valve"]),
    2025: (["fan", "bearing"], ["CoffeeGrinder", "AutoTrash"]),
    2026: (["fan", "ToyCar"], ["Sander", "ToothBrush"]),
}
SMALL = {"train_source": 8, "train_target": 2, "test_per_cell": 1, "duration_s": 0.5}


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def make_lines(text: str) -> list[str]:
    """The commands of a part of the page, without what continues a line."""
    return re.findall(r"^    (make .*)$", text.replace("\\\n", " "), re.MULTILINE)


def walk(text: str, server: ArchiveServer) -> list[tuple[str, Answer]]:
    """Runs every command of a part of the page; what the Makefile makes of it, in this process."""
    done = []
    for line in make_lines(text):
        target, *words = shlex.split(line)[1:]
        echo = subprocess.run(
            ["make", "-n", "-C", ROOT, target, *words], capture_output=True, text=True, check=True
        ).stdout
        (command,) = re.findall(r"^\S*python -m asd (.*)$", echo, re.MULTILINE)
        given = shlex.split(command)
        done.append((line, succeeds(*given, *(server.words if given[0] == "data" else ()))))
    return done


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with serving() as archive:
        yield archive


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with what a competitor has: configurations, names, a report, a template, a checkpoint."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (names,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    Path("me.yaml").write_text(names)
    Path("report.pdf").write_bytes(b"%PDF-1.7\n")
    template = yaml.safe_load((ROOT / "asd/challenge/meta/2026.yaml").read_text())
    del template["system"]["description"]["development_data_usage"]  # the organisers may ask for less
    Path("official.yaml").write_text(yaml.safe_dump(template, sort_keys=False))
    Path("models").mkdir()
    shutil.move(beats_pt(tmp_path), "models/BEATs_iter3_plus_AS2M.pt")
    return tmp_path


def publish(server: ArchiveServer, year: int, monkeypatch: pytest.MonkeyPatch, supplemental: int = 0) -> None:
    """The stand-in of a year, on the server and in the catalogue."""
    dev, evaluation = MACHINES[year]
    full = get_year(year)
    small = replace(
        full,
        dev={machine: full.dev[machine] for machine in dev},
        eval={machine: full.eval[machine] for machine in evaluation},
        eval_clips=4 * SMALL["test_per_cell"],
    )
    monkeypatch.setitem(years._YEARS, year, small)
    publish_year(server, year, Path("clips"), dev=dev, evaluation=evaluation, supplemental=supplemental, **SMALL)


def is_valid(name: str, year: int, template: Path | None = None) -> bool:
    findings = validate(Path("submissions") / name, get_year(year), template_file=template)
    return not findings.defects and not findings.warnings


@pytest.mark.slow
def test_2025_with_clean_recordings(checkout: Path, server: ArchiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(server, 2025, monkeypatch, supplemental=4)
    done = dict(walk(section("2025"), server))
    assert "all there" in done["make data-check year=2025"].out
    assert is_valid("Nishida_HIT_task2_1", 2025)
    assert is_valid("Nishida_HIT_task2.zip", 2025)
    ours = read_json(Path("runs/both/evaluation_eval.json"))["scorers"]["fused"]["official_score"]
    assert f"official score {100 * ours:.2f}" in done[make_lines(section("2025"))[-1]].out
    meta = yaml.safe_load(Path("submissions/Nishida_HIT_task2_1/Nishida_HIT_task2_1.meta.yaml").read_text())
    assert meta["submission"]["authors"][0]["lastname"] == "Nishida"
    assert meta["results"]["development_dataset"].keys() == {"fan", "bearing"}
    clean = yaml.safe_load(Path("runs/clean/fan/seed0/config.yaml").read_text())
    assert clean["supplemental"]["clean"] == "references"


@pytest.mark.slow
def test_2026_with_two_microphones_and_a_pretrained_encoder(
    checkout: Path, server: ArchiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server, 2026, monkeypatch)
    walk(section("2026"), server)
    assert is_valid("Nishida_HIT_task2.zip", 2026, Path("official.yaml"))
    assert not is_valid("Nishida_HIT_task2.zip", 2026)  # which is why the commands name the template
    path = Path("submissions/Nishida_HIT_task2_1/Nishida_HIT_task2_1.meta.yaml")
    system = yaml.safe_load(path.read_text())["system"]
    assert "BEATs" in system["description"]["embeddings"]
    assert "cancel" in system["description"]["front_end"]
    assert system["external_datasets"][0]["name"] == "AudioSet"
    assert Path("runs/ears/evaluation_eval.json").exists()


@pytest.mark.slow
def test_2022_with_other_sections_of_the_same_machines(
    checkout: Path, server: ArchiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server, 2022, monkeypatch)
    walk(section("Other years"), server)
    assert is_valid("Nishida_HIT_task2_3", 2022)
    assert Path("runs/statistics_eval/evaluation_eval.json").exists()


def test_every_command_of_the_page_is_walked() -> None:
    parts = [line for title in ("2025", "2026", "Other years") for line in make_lines(section(title))]
    assert parts == make_lines(PAGE)
    assert len(parts) > 30
