"""The catalogue against the published archive records and lists of evaluation clips."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from asd.challenge.names import parse_name
from asd.challenge.years import YEARS, Unit, get_year
from asd.types import AsdError, Domain, Split

RECORD_FILES = {2020: "zenodo_2020_2022", 2021: "zenodo_2020_2022", 2022: "zenodo_2020_2022"}


def test_catalogue_covers_all_years() -> None:
    assert tuple(range(2020, 2027)) == YEARS
    assert [get_year(year).year for year in YEARS] == list(YEARS)


@pytest.mark.parametrize("year", [2019, 2027, "2025"])
def test_unknown_year_is_named_with_the_known_ones(year: int) -> None:
    with pytest.raises(AsdError, match=rf"{year}.*2020.*2026"):
        get_year(year)


@pytest.mark.parametrize("year", YEARS)
def test_archives_are_the_published_ones(golden: Path, year: int) -> None:
    text = (golden / "ground_truth" / f"{RECORD_FILES.get(year, f'zenodo_{year}')}.yaml").read_text()
    published = yaml.safe_load(text)[f"DCASE{year}T2"]
    entry = get_year(year)
    assert {*published} == {*entry.dev, *entry.eval}
    parts = {"dev": ("dev",), "eval": ("eval_train", "eval_test")}
    for machine, addresses in published.items():
        for part, urls in addresses.items():
            for name, url in zip(parts[part], urls, strict=False):  # 2026 was listed before its test set
                archive = entry.archive(name, machine)
                assert url.endswith(f"/{archive.record}/files/{archive.file}")


def test_archive_of_the_test_set_of_2026() -> None:
    assert get_year(2026).archive("eval_test", "Sander") == (20437238, "eval_data_Sander_test.zip")


def test_archive_of_a_machine_of_another_year() -> None:
    with pytest.raises(AsdError, match=r"'pump'.*2025.*ToyCar"):
        get_year(2025).archive("dev", "pump")


@pytest.mark.parametrize("year", range(2020, 2026))
def test_units_and_counts_are_those_of_the_evaluation_lists(golden: Path, year: int) -> None:
    entry, machine, counts = get_year(year), "", Counter[Unit]()
    for line in (golden / f"ground_truth/eval_data_list_{year}.csv").read_text().splitlines():
        name, *truth = line.strip().split(",")
        if not truth:
            machine = name
            continue
        clip = parse_name(Path(name), machine, Split.TEST)
        counts[Unit(machine, clip.section, clip.domain)] += 1
    assert counts == {unit: entry.n_eval_clips(unit) for unit in entry.eval_units()}


def test_rules_of_the_years() -> None:
    assert {year: get_year(year).rule for year in YEARS} == {
        2020: "per_id",
        2021: "per_domain",
        **dict.fromkeys(range(2022, 2027), "mixed"),
    }
    assert [year for year in YEARS if not get_year(year).decisions] == [2020]
    assert [year for year in YEARS if get_year(year).channels == 2] == [2026]
    assert len(get_year(2021).eval_units()) == 7 * 3 * 2
    assert get_year(2021).eval_units()[0].domain is Domain.SOURCE


@pytest.mark.parametrize("year", YEARS)
def test_first_shot_years_share_no_machine_between_sets(year: int) -> None:
    entry = get_year(year)
    assert entry.dev.keys().isdisjoint(entry.eval) == (year >= 2023)
    assert entry.hidden_attributes <= {*entry.dev, *entry.eval}
    assert bool(entry.hidden_attributes) == (year >= 2024)


def test_default_folders() -> None:
    assert get_year(2025).dev_root == Path("data/dcase2025t2/dev_data/raw")
    assert get_year(2025).eval_root == Path("data/dcase2025t2/eval_data/raw")
