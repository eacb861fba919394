from __future__ import annotations

import numpy as np
import pytest

from asd.data.microphones import FrontEnd, defect


def waves(*levels: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([level * rng.normal(size=4000) for level in levels]).astype(np.float32)


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
    assert FrontEnd(residual=0.5, device="cuda").key() == FrontEnd().key()
    keys = [FrontEnd(), FrontEnd("far"), FrontEnd(profile=(1.0,)), FrontEnd(activity=(1.0,))]
    assert len({str(one.key()) for one in keys}) == 4


def test_a_submission_is_told_of_everything_but_the_plain_near_microphone() -> None:
    assert FrontEnd().words() is None
    assert FrontEnd("cancel", 0.5).words() == (
        "least-squares cancellation of the far microphone, minus 0.5 times the far microphone's vector"
    )
    assert FrontEnd(profile=(1.0,), activity=(1.0,)).words() == (
        "spectral subtraction of a noise profile, frames weighted by machine activity"
    )


def test_sound_recordings_have_no_defect() -> None:
    assert defect(waves(0.1)) is None
    assert defect(waves(0.1, 0.1)) is None
    near, other = waves(0.1, 0.1)
    assert defect(np.stack([near, near + 0.1 * other])) is None  # far off what a copy is


@pytest.mark.parametrize("factor", [1.0, -0.5, 1e-3])
def test_copies_of_a_microphone_are_named_at_any_gain(factor: float) -> None:
    (near,) = waves(0.1)
    far = np.round(32768 * factor * near) / 32768  # as a 16-bit file keeps it
    expected = "has the same sound on both" if abs(factor) > 0.1 else None  # buried in rounding: not the same
    found = defect(np.stack([near, far]).astype(np.float32))
    assert (found or "").startswith(expected or "")
    assert (found is None) == (expected is None)


def test_silence_is_named_by_its_microphone() -> None:
    assert defect(waves(0.0)) == "is silent (all samples are zero)"
    assert defect(waves(0.0, 0.1)) == "is silent (all samples are zero)"
    assert defect(waves(0.1, 0.0)) == "has a silent far microphone (all samples are zero)"
