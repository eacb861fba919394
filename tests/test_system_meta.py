"""Templates of every year, and what is laid over them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from asd.challenge.system_meta import fill_meta, load_meta, load_template, result_keys
from asd.challenge.years import YEARS, get_year
from asd.types import AsdError
from tests.made_submission import LABEL, USER, facts


@pytest.mark.parametrize("year", YEARS)
def test_templates_name_the_machines_of_the_year(year: int) -> None:
    template = load_template(get_year(year))
    results = template["results"]["development_dataset"]
    assert list(results) == list(get_year(year).dev)
    assert {tuple(figures) for figures in results.values()} == {result_keys(template)}


def test_what_the_years_ask_for() -> None:
    assert result_keys(load_template(get_year(2020))) == ("averaged_auc", "averaged_pauc")
    assert result_keys(load_template(get_year(2022)))[-1] == "harmonic_mean_pauc"
    assert result_keys(load_template(get_year(2025))) == ("auc_source", "auc_target", "pauc")
    asks = {year: load_template(get_year(year))["system"] for year in YEARS}
    assert [year for year in YEARS if "MACs" in asks[year]["complexity"]] == [2024, 2025, 2026]
    description = list(asks[2022]["description"])
    start = description.index("aggregation_method")
    assert description[start + 1 : start + 5] == [
        "domain_adaptation_method",
        "domain_generalization_method",
        "attribute_usage",
        "ensemble_method_subsystem_count",
    ]
    assert "attribute_usage" not in asks[2020]["description"]


@pytest.mark.parametrize("year", YEARS)
def test_fill_meta(year: int) -> None:
    entry = get_year(year)
    template = load_template(entry)
    meta = fill_meta(template, facts(entry), LABEL, USER)
    assert meta["submission"] == {
        "label": LABEL,
        "name": "Autoencoder",
        "abbreviation": "AE",
        "authors": USER["submission"]["authors"],
    }
    assert meta["system"]["description"]["input_sampling_rate"] == "16 kHz"
    assert meta["system"]["complexity"]["total_parameters"] == 267928
    assert meta["system"]["complexity"].get("MACs") == (82_000_000 if year >= 2024 else None)
    assert meta["results"]["development_dataset"].keys() == entry.dev.keys()
    assert meta["system"]["description"].keys() == template["system"]["description"].keys()
    assert template == load_template(entry), "the template must not be written into"


def test_facts_beat_the_template_and_the_user_beats_the_facts() -> None:
    template = load_template(get_year(2025))
    template["system"]["description"]["front_end"] = "an example of the organisers"
    template["system"]["description"]["a key of theirs"] = "kept"
    user = {"system": {"source_code": "https://example.org", "description": {"embeddings": "mine"}}}
    meta = fill_meta(template, facts(get_year(2025)), LABEL, user)
    assert meta["system"]["description"]["front_end"] is None
    assert meta["system"]["description"]["a key of theirs"] == "kept"
    assert meta["system"]["description"]["embeddings"] == "mine"
    assert meta["system"]["source_code"] == "https://example.org"


def test_external_datasets_become_a_list() -> None:
    year = get_year(2025)
    with_data = replace(facts(year), external_datasets=({"name": "X", "url": "u", "total_audio_length": 3.5},))
    meta = fill_meta(load_template(year), with_data, LABEL)
    assert meta["system"]["external_datasets"] == [{"name": "X", "url": "u", "total_audio_length": 3.5}]


def test_misspelt_user_key_gets_a_suggestion() -> None:
    year = get_year(2025)
    with pytest.raises(AsdError, match=r"submission\.autors is not a key.*did you mean authors\?"):
        fill_meta(load_template(year), facts(year), LABEL, {"submission": {"autors": []}})


def test_results_of_another_year_are_refused() -> None:
    with pytest.raises(AsdError, match=r"results of ToyCar are averaged_auc.*template has auc_source"):
        fill_meta(load_template(get_year(2025)), facts(get_year(2020)), LABEL)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("- a\n- b\n", "no key: value"), ("a: [", "YAML file"), (None, "does not exist"), ("a: 1", "no section")]
    + [(f"submission: {{{authors}}}\nsystem: {{}}\nresults: {{{figures}}}\n", "is no meta template: results")
       for authors, figures in (("authors: me", ""), ("authors: [me]", ""), ("", "development_dataset: [fan]"),
                                ("", "development_dataset: {fan: 3}"))],
)  # fmt: skip
def test_bad_templates(tmp_path: Path, content: str | None, complaint: str) -> None:
    path = tmp_path / "template.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(AsdError, match=rf"template\.yaml.*{complaint}"):
        load_template(get_year(2025), path)


def test_load_meta_reads_null(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("a: !!null\nb: null\n")
    assert load_meta(tmp_path / "m.yaml") == {"a": None, "b": None}
