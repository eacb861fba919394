from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.distance import cdist

from asd.scoring.domains import DomainBanks, DomainMedian, DomainZ, transductive_z
from asd.types import AsdError

FloatArray = npt.NDArray[np.float64]


@pytest.fixture
def bank() -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    is_target = rng.permutation(np.arange(40) >= 30)
    return np.where(is_target[:, None], 5.0, 1.0) * rng.normal(size=(40, 3)), is_target


def nearest(distances: FloatArray, k: int = 1) -> FloatArray:
    return np.asarray(np.sort(distances, axis=1)[:, :k].mean(1))


@pytest.mark.parametrize("k", [1, 3])
def test_scores_are_their_formulas(bank: tuple[FloatArray, npt.NDArray[np.bool_]], k: int) -> None:
    vectors, is_target = bank
    queries = np.random.default_rng(1).normal(size=(25, 3)) * 4
    median, z, raw = [], [], []
    for members in (vectors[~is_target], vectors[is_target]):
        own = cdist(members, members)
        np.fill_diagonal(own, np.inf)
        left_out, distance = nearest(own, k), nearest(cdist(queries, members), k)
        raw.append(distance)
        median.append(distance / np.median(left_out))
        z.append((distance - left_out.mean()) / left_out.std())
    np.testing.assert_allclose(DomainMedian(vectors, is_target, k=k).score(queries), np.min(median, 0))
    np.testing.assert_allclose(DomainZ(vectors, is_target, k=k).score(queries), np.min(z, 0))
    np.testing.assert_allclose(DomainBanks(vectors, is_target, k=k).distances(queries), np.transpose(raw))


def test_training_scores_do_not_meet_themselves(bank: tuple[FloatArray, npt.NDArray[np.bool_]]) -> None:
    vectors, is_target = bank
    fitted = DomainMedian(vectors, is_target)
    own = cdist(vectors, vectors)
    np.fill_diagonal(own, np.inf)
    expected = np.minimum(
        nearest(own[:, ~is_target]) / fitted.scales[0], nearest(own[:, is_target]) / fitted.scales[1]
    )
    np.testing.assert_allclose(fitted.score_training(), expected)
    assert (fitted.score(vectors) == 0.0).all()  # whereas as queries they do


def test_a_lone_target_clip_takes_the_scale_of_all(bank: tuple[FloatArray, npt.NDArray[np.bool_]]) -> None:
    vectors, _ = bank
    is_target = np.arange(40) == 7
    own = cdist(vectors, vectors)
    np.fill_diagonal(own, np.inf)
    joint = own.min(1)
    assert DomainMedian(vectors, is_target).scales[1] == pytest.approx(np.median(joint))
    fitted = DomainZ(vectors, is_target)
    assert (fitted.means[1], fitted.deviations[1]) == pytest.approx((joint.mean(), joint.std()))
    left_out = DomainBanks(vectors, is_target).leave_one_out()
    assert np.isinf(left_out[7, 1])
    assert np.isfinite(np.delete(left_out[:, 1], 7)).all()
    assert left_out[7, 0] == pytest.approx(joint[7])


def test_two_target_clips_have_no_deviation_of_their_own(
    bank: tuple[FloatArray, npt.NDArray[np.bool_]],
) -> None:
    vectors, _ = bank
    fitted = DomainZ(vectors, np.arange(40) >= 38)
    own = cdist(vectors, vectors)
    np.fill_diagonal(own, np.inf)
    assert fitted.deviations[1] == pytest.approx(own.min(1).std())


def test_transductive_z_uses_the_test_set() -> None:
    distances = np.random.default_rng(0).gamma(2.0, size=(30, 2)) * [1.0, 7.0]
    expected = ((distances - distances.mean(0)) / distances.std(0)).min(1)
    np.testing.assert_allclose(transductive_z(distances), expected)
    assert transductive_z(np.array([[3.0, 2.0]])).tolist() == [0.0]
    assert transductive_z(np.full((4, 2), 0.1)).tolist() == [0.0] * 4
    assert transductive_z(np.empty((0, 2))).shape == (0,)


def test_flags_must_fit_the_vectors() -> None:
    with pytest.raises(AsdError, match=r"each of 4 vectors needs one flag source/target, got shape \(3,\)"):
        DomainBanks(np.eye(4), np.zeros(3, dtype=bool))
    with pytest.raises(AsdError, match="at least one vector"):
        DomainBanks(np.empty((0, 4)), np.zeros(0, dtype=bool))
