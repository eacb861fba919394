"""Tests of asd.evaluation.markdown."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.evaluation.markdown import MISSING, plain, signed, table


def test_columns_of_numbers_are_aligned_to_the_right() -> None:
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
