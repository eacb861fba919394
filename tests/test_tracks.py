"""Synthetic multi-track sequences: fixed by seed and number, and each modality tells what it is said to tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.synthetic.tracks import MODALITIES, NUMBERS, TRACK, Layout, Sequences, make_sequences, render
from asd.synthetic.tracks import draw as draw_sequence

CLEAN = Layout(absent=0, trouble=0, unknown=0)


def columns(sequences: Sequences) -> list[np.ndarray]:
    s = sequences
    return [*s.features.values(), s.present, s.active, s.asset, s.numbers, s.scene, s.cut, s.music, s.dark]


@pytest.fixture(scope="module")
def clean() -> Sequences:
    return make_sequences(CLEAN, 0, range(300))


def test_a_sequence_is_the_same_whatever_is_made_with_it() -> None:
    together, alone = make_sequences(Layout(), 5, range(9)), make_sequences(Layout(), 5, [8, 2])
    for a, b in zip(columns(together.at(np.array([8, 2]))), columns(alone), strict=True):
        np.testing.assert_array_equal(a, b)
    other = make_sequences(Layout(), 6, [8, 2])
    assert not np.array_equal(other.scene, alone.scene)


def test_what_is_random_is_drawn_first_and_stays_as_it_is() -> None:
    draws = type(draw_sequence(CLEAN, 0, 0))(*(x[None] for x in draw_sequence(CLEAN, 0, 0)))
    before = [x.copy() for x in draws]
    first, again = render(CLEAN, draws), render(CLEAN, draws)
    for a, b in zip(columns(first), columns(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(np.array_equal(a, b) for a, b in zip(before, draws, strict=True))
    # The same draws under another layout: what is absent goes, what happened stays.
    lacking = render(replace(CLEAN, absent=1.0), draws)
    np.testing.assert_array_equal(lacking.numbers, first.numbers)
    np.testing.assert_array_equal(lacking.features["track"], first.features["track"])
    assert np.isnan(lacking.features["audio"]).all()
    assert lacking.present.tolist() == [[[False, False, True]] * CLEAN.n_steps]


@settings(max_examples=20)
@given(
    seed=st.integers(0, 1000),
    absent=st.floats(0, 1),
    trouble=st.floats(0, 1),
    unknown=st.floats(0, 1),
    n_tracks=st.integers(4, 7),
)
def test_absence_is_nan_and_never_complete(
    seed: int, absent: float, trouble: float, unknown: float, n_tracks: int
) -> None:
    layout = Layout(9, n_tracks, 5, 3, absent, trouble, unknown)
    s = make_sequences(layout, seed, range(6))
    assert s.present.any(-1).all()
    for i, name in enumerate(MODALITIES):
        x = s.features[name]
        assert x.shape == (6, 9, layout.widths()[name])
        assert np.isnan(x[~s.present[..., i]]).all()
        if name != "video":
            assert not np.isnan(x[s.present[..., i]]).any()
    assert (np.isnan(s.numbers).all(-1) == ~s.active).all()
    assert not np.isnan(s.numbers[s.active]).any()
    assert not s.asset[~s.active].any()
    assert (s.asset >= 0).all()
    assert (s.asset < 5).all()


def test_without_trouble_everything_is_known(clean: Sequences) -> None:
    assert clean.present.all()
    assert not any(np.isnan(x).any() for x in clean.features.values())
    assert not clean.music.any()
    assert not clean.dark.any()


def test_at_full_size_the_widths_are_those_of_the_document() -> None:
    widths = Layout(n_tracks=20, n_embedding=512).widths()
    assert widths == {"audio": 4, "video": 522, "track": 240}


def test_the_track_modality_is_the_last_keyframe(clean: Sequences) -> None:
    told = clean.features["track"].reshape(300, 32, 4, len(TRACK))
    keyframe = np.arange(32) // 8 * 8
    on = clean.active[:, keyframe]
    np.testing.assert_allclose(told[..., 0], on, atol=0.2)
    assert np.abs(told[~on]).max() < 0.2  # nothing of an idle track but noise
    for name in NUMBERS:
        numbers = clean.numbers[:, keyframe][..., NUMBERS.index(name)]
        np.testing.assert_allclose(told[..., TRACK.index(name)][on], numbers[on], atol=0.2)


def test_between_keyframes_nothing_is_told_of_the_tracks(clean: Sequences) -> None:
    told = clean.features["track"].reshape(300, 4, 8, -1)  # keyframes, steps from each to the next
    assert np.abs(told - told[:, :, :1]).max() < 0.2


def test_speech_is_heard_except_under_music() -> None:
    s = make_sequences(replace(CLEAN, trouble=0.6), 0, range(400))
    heard = s.present[..., 0]
    says = s.features["audio"][..., 1] > 0.5
    agrees = says == s.active[..., 0]  # track 0 is on while somebody speaks
    assert agrees[heard & ~s.music].mean() == pytest.approx(0.95, abs=0.01)
    assert agrees[heard & s.music].mean() == pytest.approx(0.5, abs=0.03)


def test_the_scene_is_seen_except_in_the_dark() -> None:
    s = make_sequences(replace(CLEAN, trouble=0.6), 0, range(400))
    seen = s.present[..., 1]
    embedding = s.features["video"][..., 10:]
    looks = np.stack([embedding[seen & ~s.dark & (s.scene == k)].mean(0) for k in range(6)])
    nearest = ((embedding[:, :, None] - looks) ** 2).sum(-1).argmin(-1)
    assert (nearest == s.scene)[seen & ~s.dark].mean() > 0.95
    assert (nearest == s.scene)[seen & s.dark].mean() < 0.3


def test_held_tracks_follow_neither_speech_nor_scene(clean: Sequences) -> None:
    speech, held = clean.active[..., 0], clean.active[..., 2]
    assert abs(held[speech].mean() - held[~speech].mean()) < 0.05
    by_scene = [held[clean.scene == k].mean() for k in range(6)]
    assert np.ptp(by_scene) < 0.15
    assert (held[:, 1:] == held[:, :-1]).mean() > 0.85  # but their own past
