from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from asd.data.codecs import encode
from asd.evaluation.confidence import decision_intervals
from asd.evaluation.report.contents import (
    MachineScores,
    Medium,
    PageMedia,
    ShownClips,
    as_html,
    machine_part,
    projections,
    spectrogram_picture,
)
from asd.types import SCORE_COLUMNS
from tests.browser import Page, opened
from tests.command import succeeds, tiny_machines

pytestmark = pytest.mark.slow

DOWN, UP, END = "\ue015", "\ue013", "\ue010"
CHOSEN = "document.querySelector('[aria-selected=true] .rank').textContent"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on two machines, with sounds for every clip."""
    folder = tmp_path_factory.mktemp("report")
    tiny_machines(folder / "data", "fan", "valve")
    words = ("name=one", f"runs={folder / 'runs'}")
    succeeds("train", f"data={folder / 'data'}", "seeds=0,1", *words)
    succeeds("report", "explained=1", f"out={folder / 'report.html'}", *words)
    return folder / "report.html"


@pytest.fixture
def page(report: Path, tmp_path: Path) -> Iterator[Page]:
    with opened(report, tmp_path / "profile") as page:
        yield page
        assert page.complaints() == []


def test_players_play_by_key_and_never_two_at_once(page: Page) -> None:
    page.press(" ")
    page.becomes("document.getElementById('play').currentTime > 0.2")
    page.press("n")
    page.becomes("document.getElementById('play-normal').currentTime > 0.1")
    assert page.asks("document.getElementById('play').paused")
    for player in ("play", "play-normal"):
        assert page.asks(f"document.getElementById('{player}').duration") == pytest.approx(1.0, abs=0.02)
    page.becomes("document.querySelector('.screen i').style.left !== ''")


def test_arrows_move_through_the_list_and_stay_in_it(page: Page) -> None:
    assert page.asks(CHOSEN) == "1"
    page.press(DOWN, DOWN)
    assert page.asks(CHOSEN) == "3"
    assert page.text("#detail h4") == page.text("[aria-selected=true] .name")
    page.press(UP, UP, UP, UP)
    assert page.asks(CHOSEN) == "1"


def test_the_slider_moves_every_number(page: Page) -> None:
    def shown() -> list[str]:
        return [page.text(place) for place in ("#threshold-value", "#decisions", "#called-all", "#list .chip")]

    before, histogram = shown(), page.asks("document.getElementById('histogram').innerHTML")
    move = "const s = document.getElementById('threshold'); s.value = {}; s.dispatchEvent(new Event('input'))"
    page.driver.execute_script(move.format(1000))
    after = shown()
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert "0 of" in after[1]
    assert after[3] == "called normal"
    assert page.asks("document.getElementById('histogram').innerHTML") != histogram
    page.driver.find_element("id", "reset").click()
    assert shown() == before


def test_a_slider_at_the_bottom_finds_every_anomaly(page: Page) -> None:
    page.driver.execute_script(
        "const s = document.getElementById('threshold'); s.value = 0; s.dispatchEvent(new Event('input'))"
    )
    n_clips = page.asks("DATA.machines[0].clips.length")
    assert f"{n_clips // 2} of {n_clips // 2}" in page.text("#decisions tbody tr:nth-child(1)")
    assert "100.0" in page.text("#decisions tbody tr:nth-child(5)")  # the false-alarm rate


def test_another_machine_filters_and_map(page: Page) -> None:
    page.driver.find_element("css selector", "#machines button:nth-child(2)").click()
    assert page.asks("machine().machine") == "valve"
    page.driver.find_element("id", "find").send_keys("target")
    assert page.asks("[...document.querySelectorAll('#list .name')].every((n) => n.textContent.includes('target'))")
    for colour in ("domain", "condition", "section", "decision", "label"):
        page.driver.find_element("css selector", f"#map-colour option[value={colour}]").click()
        assert page.asks("document.querySelectorAll('#map circle').length") > 12


def test_the_page_can_be_read_without_seeing_it(page: Page) -> None:
    assert page.asks("[...document.images].filter((i) => i.src && !i.alt).length") == 0
    assert page.asks("[...document.querySelectorAll('.chart > figure, .chart > svg')].every((c) => c.ariaLabel)")
    unnamed = "[...document.querySelectorAll('input, select')].filter((e) => !e.labels.length)"
    assert page.asks(f"{unnamed}.length") == 0
    assert page.asks("document.documentElement.lang") == "en"


def test_text_has_contrast_in_both_themes(page: Page) -> None:
    for theme in ("light", "dark"):
        page.driver.execute_script(f"setTheme('{theme}')")
        for ink in ("--ink", "--soft", "--anomaly", "--normal"):
            for ground in ("--card", "--paper"):
                assert contrast(*(colour(page, name) for name in (ink, ground))) >= 4.5, (theme, ink, ground)


def colour(page: Page, variable: str) -> list[float]:
    """Red, green and blue of a colour of the page, 0 to 1."""
    script = (
        "(() => { const e = document.createElement('i'); e.style.transition = 'none'; "
        f"e.style.color = 'var({variable})'; document.body.append(e); "
        "const c = getComputedStyle(e).color; e.remove(); return c.match(/[\\d.]+/g).map(Number); })()"
    )
    return [value / 255 for value in page.asks(script)[:3]]


def contrast(one: list[float], other: list[float]) -> float:
    """The contrast ratio of WCAG 2.2."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    values = np.array([one, other])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    low, high = sorted((linear @ weights).tolist())
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("width", [360, 820, 1280])
def test_nothing_is_wider_than_the_window(report: Path, tmp_path: Path, width: int) -> None:
    with opened(report, tmp_path / "profile", width) as page:
        assert page.asks("document.documentElement.scrollWidth") <= width
        ticks = "document.querySelectorAll('#histogram [aria-label=\"x-axis tick label\"] text')"
        assert page.asks(f"{ticks}.length") >= 3
        assert page.complaints() == []


def test_two_thousand_dated_clips_fill_a_page_that_opens_at_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=2000, freq="h")
    rows = [("pump", "00", "", "test", "", f"pump {day:%Y-%m-%d %H-%M}.wav", rng.normal() ** 3, 0) for day in days]
    table = pd.DataFrame(rows, columns=list(SCORE_COLUMNS))
    maps = {"PCA": projections(rng.normal(size=(1200, 4)))["PCA"]}
    page = PageMedia(25_000_000)
    shown = ShownClips(maps=maps, map_rows=range(1200), parts=noisy_parts(page, rng))
    part = machine_part(MachineScores("pump", table, 2.0, rng.normal(size=300)), shown)
    facts = {"scorer": "s", "seed": 0, "made": "", "about": "", "n_clips": 2000, "n_shown": len(shown.parts)}
    data = {"machines": [part], "comparisons": []}
    contents = {"name": "many", "codec": "opus", "numbers": None, "data": data, **facts}
    path = tmp_path / "page.html"
    path.write_text(as_html(contents | {"media_bytes": page.n_characters}, page.media))
    assert 24e6 < path.stat().st_size < 30e6
    with opened(path, tmp_path / "profile") as page:
        opened_ms = page.asks("performance.getEntriesByType('navigation')[0].loadEventEnd")
        print(f"{path.stat().st_size / 1e6:.1f} MB, opened in {opened_ms:.0f} ms")
        first = page.asks("document.querySelectorAll('#list .row').length")
        assert 0 < first <= 100
        assert page.asks("files.size") <= 4  # sounds and pictures of the chosen clip alone
        assert page.asks("document.querySelectorAll('#time circle').length") == 2000
        assert page.asks("document.getElementById('roc-card').hidden")
        page.press(DOWN)
        assert page.asks(CHOSEN) == "2"
        page.driver.execute_script("const list = document.getElementById('list'); list.scrollTop = 1e6")
        page.becomes(f"document.querySelectorAll('#list .row').length > {first}")
        page.driver.execute_script("document.getElementById('list').focus({preventScroll: true})")
        page.press(END)
        assert page.asks(CHOSEN) == "2000"
        assert page.asks("document.querySelector('[aria-selected=true]').ariaPosInSet") == "2000"
        assert page.complaints() == []


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    """A page of predictions under long names, one of a recording without a sound, on a scale that is bent."""
    folder = "/a long way to the new recordings of this week, " + "x" * 150
    files = [f"{folder}/{i}.wav" for i in range(8)]
    table = pd.DataFrame([("pump", "00", "", "test", "", file, 1.0, 0) for file in files], columns=list(SCORE_COLUMNS))
    table["score"] = [-90.0, -40.0, -1.0, 1.5, 2.5, 40.0, 80.0, 300.0]
    table["defect"] = [*[""] * 7, "is silent (all samples are zero)"]
    vectors = np.random.default_rng(0).normal(size=(8, 4))
    shown = ShownClips(maps=projections(vectors), map_rows=range(8), map_of="vectors")
    effects = {"top_bands": "0-189 Hz +1", "top_stretch": "", "louder_db": -0.36}
    picture = {"top": spectrogram_picture(np.eye(8), (0.0, 1.0))}
    shown.parts = {7: {"explained": "top", "effects": effects}}
    part = machine_part(MachineScores("pump", table, 2.0, np.linspace(0, 2, 9)), shown)
    facts = {"name": "n", "scorer": "s", "seed": 0, "made": "", "n_clips": 8, "n_shown": 0, "codec": "opus"}
    about = f"predictions/{'y' * 150}/predictions.csv"
    contents = {"about": about, "media_bytes": 0, "numbers": None, "data": {"machines": [part], "comparisons": []}}
    (tmp_path / "page.html").write_text(as_html(facts | contents, picture))
    return tmp_path / "page.html"


@pytest.mark.parametrize("width", [360, 1280])
def test_a_page_without_labels_says_what_can_be_said(unlabelled: Path, tmp_path: Path, width: int) -> None:
    with opened(unlabelled, tmp_path / "profile", width) as page:
        assert page.asks("document.documentElement.scrollWidth") <= width
        assert page.text("#detail .chips").split("\n") == ["called anomalous", "is silent"]
        assert "is silent (all samples are zero): its score means little" in page.text("#detail dl")
        assert page.text(".explained figcaption").endswith("level 0.36 dB below the normal one")
        assert page.asks("document.getElementById('map-colour').value") == "decision"
        wide = "document.getElementById('{}').closest('.card').clientWidth"
        assert page.asks(wide.format("decisions")) == page.asks(wide.format("histogram"))
        ticks = "[...document.querySelectorAll('#histogram [aria-label=\"x-axis tick label\"] text')]"
        edges = page.asks(f"{ticks}.map((t) => [t.getBoundingClientRect().left, t.getBoundingClientRect().right])")
        assert len(edges) > 3
        assert all(right < left for (_, right), (left, _) in pairwise(sorted(edges)))
        page.driver.find_element("css selector", ".explained button").click()
        assert page.asks("document.querySelector('dialog img').clientWidth") >= (900 if width < 820 else 1)
        assert page.complaints() == []


@pytest.mark.parametrize(("part", "whole"), [(0, 4), (4, 4), (1, 5), (37, 100), (1999, 2000), (3, 2000)])
def test_intervals_on_the_page_are_those_of_evaluate(unlabelled: Path, tmp_path: Path, part: int, whole: int) -> None:
    decision = [1] * part + [0] * (whole - part)
    wanted = decision_intervals([1] * whole, decision)
    with opened(unlabelled, tmp_path / "profile") as page:
        assert page.asks(f"interval({part}, {whole})") == pytest.approx([*wanted["recall"]], abs=2e-6)
        shown = page.asks(f"share({part}, {whole}, (x) => (2 * x) / (1 + x))")
    assert f"{100 * wanted['f1'].low:.1f} to {100 * wanted['f1'].high:.1f}" in shown


def noisy_parts(page: PageMedia, rng: np.random.Generator) -> dict[int, dict[str, Any]]:
    """As many clips to look at and listen to as there is room for: a second of noise and its neighbour each."""
    parts: dict[int, dict[str, Any]] = {}
    sound = Medium(encode(0.1 * rng.normal(size=(1, 16000)).astype(np.float32), 16000, "opus"), "audio/ogg")
    picture = spectrogram_picture(rng.normal(size=(96, 250)), (-2.0, 2.0))
    for row in range(2000):
        sounds, pictures = ([f"{row}-{which}-{kind}" for which in (0, 1)] for kind in ("sound", "picture"))
        if not page.add(dict.fromkeys(sounds, sound) | dict.fromkeys(pictures, picture)):
            return parts
        parts[row] = {"nearest": "normal.wav", "distance_db": 1.0, "sounds": sounds, "pictures": pictures}
        parts[row] |= {"seconds": [1.0, 1.0], "top_hz": 8000}
    return parts
