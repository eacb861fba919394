from __future__ import annotations

import pytest

from asd.types import FrontEnd


@pytest.mark.parametrize(
    ("front_end", "wanted"),
    [
        (FrontEnd(), 1),
        (FrontEnd(residual=0.5), 2),
        (FrontEnd("far"), 2),
        (FrontEnd("cancel"), 2),
        (FrontEnd(profile=(1.0,)), 1),
    ],
)
def test_how_many_microphones_a_front_end_needs(front_end: FrontEnd, wanted: int) -> None:
    assert front_end.n_microphones == wanted


def test_the_key_is_of_what_changes_the_waveform_alone() -> None:
    assert FrontEnd(residual=0.5).key() == FrontEnd().key()
    keys = [FrontEnd(), FrontEnd("far"), FrontEnd(profile=(1.0,)), FrontEnd(activity=(1.0,))]
    assert len({str(one.key()) for one in keys}) == 4


def test_a_submission_is_told_of_everything_but_the_plain_near_microphone() -> None:
    assert FrontEnd().description() is None
    assert FrontEnd("cancel", 0.5).description() == (
        "least-squares cancellation of the far microphone, minus 0.5 times the far microphone's vector"
    )
    assert FrontEnd(profile=(1.0,), activity=(1.0,)).description() == (
        "spectral subtraction of a noise profile, frames weighted by machine activity"
    )
