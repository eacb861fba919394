"""A page by the template: parts in order, nothing for what is empty, and files that say the same."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import asd
from asd.evaluation.page import Section, as_markdown, plus_minus, spread, without_nan, write_page
from asd.evaluation.style import colours, styled

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
    assert as_markdown("Title", ["One finding.", "Another."], sections) == PAGE
    assert as_markdown("Title", [], []) == "# Title\n"


def test_text_is_taken_literally_and_long_lines_are_folded() -> None:
    text = as_markdown("A <b> & {{ c }}", ["word " * 60], [Section(text="other " * 60)])
    assert text.startswith("# A <b> & {{ c }}\n")
    assert max(map(len, text.splitlines())) <= 118
    assert text.splitlines()[3].startswith("  word")


def test_the_files_of_a_page_say_the_same(tmp_path: Path) -> None:
    named = pd.DataFrame({"n": [1, 2]}, pd.Index(["x", "y"], name="class"))
    tables = {"named": named, "plain": pd.DataFrame({"n": [3]}), "empty": pd.DataFrame()}
    numbers = {"mean": 0.1, "rest": [math.nan, {"deep": (math.nan, 1)}]}
    write_page(tmp_path, "page", "# Text\n", numbers=numbers, tables=tables, figures={"drawn": Figure()})
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
