"""What scores are measured against: conditions, domains and sections of clips, metrics, vectors that are refused."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from asd.scoring import references
from asd.scoring.references import References, blocks, checked, conditions_of, references_of, to_distance, to_euclidean
from asd.types import AsdError, Clip, Domain, Split


def clip(section: str, domain: Domain, **attributes: str) -> Clip:
    return Clip(Path("a.wav"), "fan", section, Split.TRAIN, domain, attributes=attributes)


CLIPS = [
    *(clip("00", Domain.SOURCE, vel="6") for _ in range(4)),
    *(clip("00", Domain.SOURCE, vel="10") for _ in range(3)),  # too few for a condition of their own,
    clip("00", Domain.SOURCE, vel="8"),  # as is this one
    *(clip("00", Domain.TARGET, vel="6") for _ in range(4)),
    *(clip("hall 2", Domain.TARGET) for _ in range(2)),
]


def test_clips_give_conditions_domains_and_sections() -> None:
    vectors = np.arange(2 * len(CLIPS), dtype=np.float32).reshape(-1, 2)
    found = references_of(CLIPS, vectors)
    groups = {tuple(map(int, np.flatnonzero(found.conditions == number))) for number in set(found.conditions)}
    assert groups == {(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11), (12, 13)}
    assert {*found.conditions} == {0, 1, 2, 3}
    assert list(found.is_target) == [False] * 8 + [True] * 6
    assert found.is_target.dtype == bool
    assert list(found.sections) == [0] * 12 + [crc32(b"hall 2")] * 2
    assert found.vectors.dtype == np.float64
    np.testing.assert_array_equal(found.vectors, vectors)


def test_conditions_do_not_depend_on_the_order_of_clips() -> None:
    order = np.random.default_rng(0).permutation(len(CLIPS))
    np.testing.assert_array_equal(conditions_of([CLIPS[i] for i in order]), conditions_of(CLIPS)[order])


def test_a_part_of_references_keeps_what_is_known_of_its_clips() -> None:
    found = references_of(CLIPS, np.random.default_rng(0).normal(size=(len(CLIPS), 3)))
    part = found[np.array([0, 12])]
    assert (list(part.sections), list(part.is_target)) == ([0, crc32(b"hall 2")], [False, True])
    alone = References(found.vectors, found.conditions, found.is_target)
    np.testing.assert_array_equal(alone.sections, np.zeros(len(CLIPS), np.int64))
    assert alone.sections.dtype == np.int64


def clips_of(section: str, **n: int) -> list[Clip]:
    """So many clips of each domain of a section; `none`: of no known one."""
    domains = {"none": None, "source": Domain.SOURCE, "target": Domain.TARGET}
    return [Clip(Path("a.wav"), "fan", section, Split.TRAIN, domains[name]) for name in n for _ in range(n[name])]


@pytest.mark.parametrize(
    ("clips", "unknown"),
    [
        (clips_of("00", source=9), {"00"}),
        (clips_of("00", source=9, target=2), {"00"}),
        (clips_of("00", source=9, target=3), set()),
        (clips_of("00", source=9, target=5) + clips_of("01", source=9, target=2), {"01"}),
        (clips_of("00", source=9, target=3) + clips_of("01", source=9, target=4), set()),
        (clips_of("00", none=9), set()),  # not recorded in domains
        (clips_of("00", target=2), set()),  # nothing to be shifted from
    ],
)
def test_a_shift_is_known_from_three_target_clips_of_a_section(clips: list[Clip], unknown: set[str]) -> None:
    found = references_of(clips, np.arange(2.0 * len(clips)).reshape(-1, 2))
    assert list(found.shift_is_known) == [clip.section not in unknown for clip in clips]
    part = found[np.array([0, -1])].replace(np.eye(2))
    assert list(part.shift_is_known) == [clips[i].section not in unknown for i in (0, -1)]


def test_distances_are_those_of_scipy_and_a_zero_vector_has_no_direction() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 20, 5))
    for metric, name in (("euclid", "euclidean"), ("cosine", "cosine")):
        points = to_euclidean(a, metric), to_euclidean(b, metric)  # type: ignore[arg-type]
        ours = to_distance(cdist(*points, "sqeuclidean"), metric)  # type: ignore[arg-type]
        np.testing.assert_allclose(ours, cdist(a, b, name), atol=1e-12)
    some = to_euclidean(np.stack([np.zeros(5), np.zeros(5), a[0]]), "cosine")
    np.testing.assert_allclose(to_distance(cdist(some, some, "sqeuclidean"), "cosine")[0], [0, 0, 1])
    assert to_distance(np.array([4.0 + 1e-9]), "cosine") == 2.0  # rounding never leaves the range of a cosine


@given(st.integers(0, 300), st.integers(1, 100))
def test_blocks_cover_everything_once_within_their_bytes(count: int, values_each: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "BLOCK_BYTES", 800)
        found = list(blocks(count, values_each))
    assert [i for block in found for i in range(count)[block]] == list(range(count))
    assert all(len(range(count)[block]) * values_each * 8 <= 800 for block in found if block.stop - block.start > 1)


def test_vectors_are_kept_in_their_precision() -> None:
    for kind, kept in ((np.float32, np.float32), (np.float64, np.float64), (np.int16, np.float64)):
        found = checked(np.asfortranarray(np.ones((3, 2), kind)), "vector")
        assert found.dtype == kept
        assert found.flags.c_contiguous


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e101])
def test_a_value_that_cannot_be_squared_is_named_by_its_row(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "BLOCK_BYTES", 32)
    vectors = np.zeros((9, 2))
    vectors[7, 1] = value
    with pytest.raises(AsdError, match=r"frame 7 holds NaN, infinity or a value beyond 1e\+100"):
        checked(vectors, "frame")


@pytest.mark.parametrize("shape", [(3,), (3, 0), (2, 2, 2)])
def test_other_shapes_are_told(shape: tuple[int, ...]) -> None:
    with pytest.raises(AsdError, match=r"expected one frame per row, .* got an array of shape \(\d"):
        checked(np.zeros(shape), "frame")


def test_references_are_sorted_by_their_first_value_then_by_the_next() -> None:
    rows = [(1.0, 2.0, 0.0), (0.0, 9.0, 1.0), (1.0, 1.0, 5.0), (0.0, 9.0, -1.0), (1.0, 1.0, 4.0)]
    found = References(np.array(rows), np.arange(5), np.arange(5) > 2).sorted()
    assert [*map(tuple, found.vectors.tolist())] == sorted(rows)
    assert [rows[i] for i in found.conditions] == sorted(rows)


def test_other_vectors_of_references_are_of_double_precision() -> None:
    found = References(np.eye(2), np.arange(2), np.zeros(2, bool)).replace(np.float32([[0.1], [0.2]]))
    assert found.vectors.dtype == np.float64


def test_conditions_of_known_and_unknown_domains_stand_side_by_side() -> None:
    clips = clips_of("00", none=2, source=3, target=2) + clips_of("01", none=1)
    found = conditions_of(clips)
    assert sorted({*found.tolist()}) == [0, 1, 2, 3]
    assert [len({*found[part].tolist()}) for part in (slice(0, 2), slice(2, 5), slice(5, 7))] == [1, 1, 1]


def test_points_of_any_shape_have_unit_length_along_the_last_axis() -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 3, 4))
    vectors[1, 2] = 0.0
    points = to_euclidean(vectors, "cosine")
    assert points.shape == (2, 3, 5)
    np.testing.assert_allclose(points.reshape(6, 5), to_euclidean(vectors.reshape(6, 4), "cosine"))
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 1.0)
