"""The studies on machines in halls: cells through the real stages, tables of what they found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from asd.studies import microphones, supplemental
from asd.studies.config import Halls, Microphones, Supplemental
from asd.studies.halls import SCORERS, run_methods, sections
from tests.command import refuses, succeeds

SMALL = {"train_source": 8, "train_target": 2, "test_per_cell": 2, "duration_s": 0.6}


def test_a_cell_gives_the_official_score_of_every_method_and_resumes(tmp_path: Path) -> None:
    settings = {
        "machines": {"machines": ["fan"], "channels": 2, "snr_db": 0.0, **SMALL},
        "seed": 3,
        "methods": {"nearest": {"near": [], "near - 0.5 far": ["residual=0.5"]}},
        "device": "cpu",
    }
    found = run_methods(settings, tmp_path)
    assert found["nearest"].keys() == {"near", "near - 0.5 far"}
    assert all(0 < score <= 100 for score in found["nearest"].values())
    done = tmp_path / "runs/nearest-near/fan/seed3/DONE"
    before = done.stat().st_mtime_ns
    assert run_methods(settings, tmp_path) == found
    assert done.stat().st_mtime_ns == before


def test_a_table_says_mean_spread_and_paired_gain() -> None:
    config = Halls(seeds=[0, 1], snrs_db=[-6.0, 0.5], detectors=["statistics"])
    scores = {"-6dB": [(50, 53), (60, 65)], "0.5dB": [(70, 69), (70, 69)]}
    results = {
        ratio: [{"statistics": {"near": near, "far": far}} for near, far in seeds] for ratio, seeds in scores.items()
    }
    (section,) = sections(config, results, "near")
    assert section.head == ["statistics", "-6 dB", "0.5 dB"]
    assert section.rows == [["near", "55.0 ± 7.1", "70.0 ± 0.0"], ["far", "59.0 ± 8.5 (+4.0)", "69.0 ± 0.0 (-1.0)"]]


@pytest.mark.parametrize("study", [microphones, supplemental])
def test_every_word_of_a_study_is_one_of_the_stage(study: object) -> None:
    from asd.settings.config import Run
    from asd.settings.parsing import parse
    from asd.studies.halls import DETECTORS

    methods = study.METHODS  # type: ignore[attr-defined]
    assert methods.keys() == DETECTORS.keys() == SCORERS.keys()
    for detector, by_name in methods.items():
        for words in by_name.values():
            parse(Run, [*DETECTORS[detector], *words])


def test_both_studies_know_the_same_words_and_one_of_its_own() -> None:
    assert Microphones().machines() == Supplemental().machines()
    assert Supplemental.model_fields.keys() - Microphones.model_fields.keys() == {"supplemental"}


def test_an_unknown_detector_is_refused(tmp_path: Path) -> None:
    refuses("study", "microphones", f"runs={tmp_path}", "detectors=statistic", saying="detectors=statistic")


@pytest.mark.slow
def test_the_commands_write_their_tables(tmp_path: Path) -> None:
    words = [f"{key}={value}" for key, value in SMALL.items()]
    words += [f"runs={tmp_path}", "seeds=0", "snrs_db=0", "detectors=nearest", "workers=1"]
    for study, rows in (("microphones", 7), ("supplemental", 6)):
        more = ["supplemental=3"] if study == "supplemental" else []
        answer = succeeds("study", study, *words, *more)
        written = (tmp_path / study / "table.md").read_text()
        assert written.strip() in answer.out
        assert len(re.findall(r"^\| .* \| +\d+\.\d ± 0\.0", written, re.MULTILINE)) == rows
