"""Tests of asd.evaluation.markdown: numbers, tables, pages."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

import asd
from asd.evaluation.figures import colours, styled
from asd.evaluation.markdown import (
    MISSING,
    Section,
    as_markdown,
    plain,
    plus_minus,
    signed,
    spread,
    table,
    without_nan,
    write_page,
)


def test_columns_of_numbers_are_aligned_to_the_right() -> None:
    assert table(["machine"], [["pump 3"], ["mill #7"]])[1] == "|---------|"
    assert table(["model"], [["a|b"]]) == ["| model |", "|-------|", r"| a\|b  |"]
    assert table(["model", "F1"], [["a", "0.5000"], ["longer", MISSING], ["b", "12.0000 ± 0.1"]]) == [
        "| model  |            F1 |",
        "|--------|--------------:|",
        "| a      |        0.5000 |",
        "| longer |             – |",
        "| b      | 12.0000 ± 0.1 |",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.00004, "0.0000"), (0.00004, "0.0000"), (-0.0, "0.0000"), (-0.00006, "-0.0001"), (0.25, "+0.2500")],
)
def test_a_difference_has_its_sign_and_zero_has_none(value: float, text: str) -> None:
    assert signed(value) == text


def test_what_is_not_defined_is_a_dash() -> None:
    assert plain(math.nan) == signed(math.nan) == MISSING
    assert plain(0.12345) == "0.1235"


def test_rounding_first_would_be_off_by_one() -> None:
    """As in seed 000: its tables say .9735 and .9721, and its difference, rightly, -.0013."""
    baseline, model = 0.97349, 0.97214
    assert (plain(baseline), plain(model)) == ("0.9735", "0.9721")
    assert signed(model - baseline) == "-0.0013"
    assert signed(float(plain(model)) - float(plain(baseline))) == "-0.0014"


@given(st.floats(-1, 1), st.integers(1, 6))
def test_no_minus_zero_is_ever_printed(value: float, decimals: int) -> None:
    text = signed(value, decimals)
    assert float(text) == pytest.approx(value, abs=0.51 * 10**-decimals)
    assert not (text.startswith("-") and float(text) == 0)


PAGE = """# Title

- One finding.
- Another.

Text alone.

## Section

A paragraph.

- point

| a   |   b |
|-----|----:|
| x   | 1.0 |

![a figure](a_figure.png)

The end.

### Deeper
"""


def test_a_page_has_its_parts_in_order_and_nothing_for_what_is_empty() -> None:
    section = Section("Section", "A paragraph.", ["point"], ["a", "b"], [["x", "1.0"]], ["a_figure"], "The end.")
    sections = [Section(text="Text alone."), section, Section("Deeper", level=3), Section()]
    assert as_markdown("Title", [Section(points=["One finding.", "Another."]), *sections]) == PAGE
    assert as_markdown("Title", []) == "# Title\n"


def test_text_is_taken_literally_and_long_lines_are_folded() -> None:
    text = as_markdown("A <b> & {{ c }}", [Section(points=["word " * 60]), Section(text="other " * 60)])
    assert text.startswith("# A <b> & {{ c }}\n")
    assert max(map(len, text.splitlines())) <= 118
    assert text.splitlines()[3].startswith("  word")


def test_the_files_of_a_page_say_the_same(tmp_path: Path) -> None:
    named = pd.DataFrame({"n": [1, 2]}, pd.Index(["x", "y"], name="class"))
    tables = {"named": named, "plain": pd.DataFrame({"n": [3]}), "empty": pd.DataFrame()}
    numbers = {"mean": 0.1, "rest": [math.nan, {"deep": (math.nan, 1)}]}
    text = write_page(tmp_path, "page", "Text", [], numbers=numbers, tables=tables, figures={"drawn": Figure()})
    assert (tmp_path / "page.md").read_text() == text == "# Text\n"
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"page.md", "page.json", "named.csv", "plain.csv", "drawn.png"}
    assert json.loads((tmp_path / "page.json").read_text()) == {"mean": 0.1, "rest": [None, {"deep": [None, 1]}]}
    assert pd.read_csv(tmp_path / "named.csv", index_col="class").equals(named)
    assert (tmp_path / "plain.csv").read_text() == "n\n3\n"
    assert without_nan(numbers["mean"]) == 0.1


def test_spreads_are_sample_standard_deviations() -> None:
    assert spread([1.0, 2.0, 4.0]) == pytest.approx({"mean": 7 / 3, "std": np.sqrt(7 / 3)})
    assert spread([5.0]) == {"mean": 5.0, "std": 0.0}
    assert plus_minus({"mean": 0.1234, "std": 0.05}, 1, factor=100) == "12.3 ± 5.0"
    assert plus_minus({"mean": 1.5, "std": 0.25}, 2, sign=True) == "+1.50 ± 0.25"


def test_a_method_has_its_colour_whatever_it_is_shown_with() -> None:
    alone, together = colours(["cmt_neg"]), colours(["mine", "cmt_neg", "baseline", "other"])
    assert alone["cmt_neg"] == together["cmt_neg"]
    assert len(set(together.values())) == 4


def test_styled_figures_have_the_style_and_leave_none_behind() -> None:
    figure = styled(lambda: Figure().add_subplot())()
    assert not figure.spines["top"].get_visible()
    assert Figure().add_subplot().spines["top"].get_visible()


def test_legends_lie_beside_the_axes_and_hide_nothing() -> None:
    package = Path(asd.__file__).parent
    calls = [c for path in package.rglob("*.py") for c in re.findall(r"\.legend\(.*\)", path.read_text())]
    assert calls
    assert all('loc="outside ' in call for call in calls), calls
