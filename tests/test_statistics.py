from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.challenge.files import list_clips
from asd.data.audio import read_wav
from asd.data.codecs import write_wav
from asd.data.recordings import Recordings, check
from asd.data.supplemental import Supplement
from asd.detectors import StatisticsSettings
from asd.detectors.statistic_groups import GROUPS, Part, fault_covariance, relative_options
from asd.detectors.statistics import Statistics, columns_of
from asd.features.clip_statistics import ClipStatistics
from asd.scoring.backends import backend_named
from asd.scoring.references import references_of
from asd.types import AsdError, Domain, FrontEnd, Split
from tests.machines import recordings, run_context, tone_machine, two_microphones, write_clip

OF_THE_DEFAULT = {"density": 0.7, "neighbours": 12, "offset": 1.5, "between": 0.2}  # of its back end


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tone_machine(tmp_path_factory.mktemp("statistics"))


def fitted(data: Path, folder: Path, **arguments: object) -> Statistics:
    detector = Statistics(run_context(folder), StatisticsSettings(**arguments))  # type: ignore[arg-type]
    detector.fit(recordings(data))
    return detector


@pytest.mark.parametrize(("neighbours", "warned"), [(500, True), (24, True), (23, False), (1, False)])
def test_neighbours_that_there_are_not_are_told(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, neighbours: int, warned: bool
) -> None:
    n = len(recordings(data))
    fitted(data, tmp_path, backend="knn", neighbours=neighbours, views="level")
    said = f"neighbours={neighbours} are asked for, and each of {n} training clips has {n - 1} others"
    assert any(said in message for message in caplog.messages) is warned


@pytest.mark.parametrize(
    ("backend", "method"),
    [("gaussian", "Mahalanobis distance"), ("knn_density", "k-NN"), ("gmm", "GMM"), ("kmeans", "k-means")],
)
def test_the_meta_file_names_the_method_that_was_used(data: Path, tmp_path: Path, backend: str, method: str) -> None:
    facts = fitted(data, tmp_path, views=["level_16"], backend=backend).facts()
    assert facts["machine_learning_method"] == method
    assert facts["total_parameters"] >= 24 * 32 or method != "k-NN"  # all references are stored


def test_a_bank_of_other_views_is_refused(data: Path, tmp_path: Path) -> None:
    fitted(data, tmp_path, views=["level_16"]).save(tmp_path)
    with pytest.raises(AsdError, match=r"has no kurtosis; it is the bank of another configuration"):
        Statistics(run_context(tmp_path), StatisticsSettings(views=["level_16", "kurtosis"])).load(tmp_path)


def test_unknown_views_and_back_ends_are_named(tmp_path: Path) -> None:
    with pytest.raises(AsdError, match=r"statistics.views=mel33 is unknown; there are level, joint"):
        Statistics(run_context(tmp_path), StatisticsSettings(views=["mel33"]))
    with pytest.raises(AsdError, match="backend=magic is unknown"):
        Statistics(run_context(tmp_path), StatisticsSettings(backend="magic"))


def test_statistics_of_one_overlap_are_not_taken_for_those_of_another(data: Path, tmp_path: Path) -> None:
    same = recordings(data)
    four, eight, alone = (
        Statistics(run_context(tmp_path), StatisticsSettings(views=["flux_64"], overlap=overlap)).vectors(clips)
        for overlap, clips in ((4, same), (8, same), (8, recordings(data)))
    )
    np.testing.assert_array_equal(eight["flux_64"], alone["flux_64"])
    assert np.abs(eight["flux_64"] - four["flux_64"]).min() > 0.01


@pytest.mark.parametrize(("seconds", "asked", "overlap"), [(3.9, 0, 8), (4.0, 0, 4), (4.0, 8, 8), (1.0, 2, 2)])
def test_windows_overlap_by_the_length_of_the_normal_clips(
    tmp_path: Path, data: Path, seconds: float, asked: int, overlap: int
) -> None:
    for i in range(5):  # most of them last so long
        name = f"section_00_source_train_normal_{i:04d}.wav"
        write_clip(tmp_path / "fan/train" / name, i, seconds if i < 3 else 7.9 - seconds)
    settings = StatisticsSettings.model_validate({"views": ["flux_64"], "overlap": asked})
    detector, again = (Statistics(run_context(tmp_path), settings) for _ in range(2))
    detector.fit(recordings(tmp_path))
    detector.save(tmp_path)
    again.load(tmp_path)
    test = recordings(data, split=Split.TEST).subset(range(1))  # which lasts 1 s
    (expected,) = ClipStatistics(["flux_64"], overlap=overlap)(torch.from_numpy(test.waveform(0))[None]).values()
    np.testing.assert_allclose(again.vectors(test)["flux_64"], expected, atol=1e-5)
    assert [*detector.score(test).values()] == [*again.score(test).values()]


def test_windows_that_do_not_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="one window that holds a sample overlaps no other; write 2 to 16, or 0"):
        StatisticsSettings(overlap=1)


def test_the_residual_view_is_near_minus_a_share_of_far(tmp_path: Path) -> None:
    clips = two_microphones(tmp_path / "data")
    near, far, residual = (
        Statistics(run_context(tmp_path), StatisticsSettings(views=["level_16"])).vectors(
            check(clips, sample_rate_hz=16000, front_end=front_end)
        )["level_16"]
        for front_end in (FrontEnd(), FrontEnd("far"), FrontEnd(residual=0.5))
    )
    np.testing.assert_allclose(residual, near - 0.5 * far, atol=1e-9)


def test_directions_of_the_noise_are_left_out_and_kept_with_the_model(data: Path, tmp_path: Path) -> None:
    clips = recordings(data)
    context = replace(run_context(tmp_path), supplement=Supplement(noise_only=clips.subset(range(8))))
    learnt = Statistics(context, StatisticsSettings(views=["level_16", "level_256"]))
    learnt.fit(clips)
    for view, directions in learnt.nuisances.items():
        np.testing.assert_allclose(learnt.vectors(clips)[view] @ directions.T, 0.0, atol=1e-9)
    learnt.save(tmp_path)
    loaded = Statistics(run_context(tmp_path), StatisticsSettings(views=["level_16", "level_256"]))
    loaded.load(tmp_path)
    for view, scores in learnt.score(clips).items():
        np.testing.assert_array_equal(loaded.score(clips)[view], scores)


def test_views_count_alike_in_the_distance_of_two_clips(data: Path, tmp_path: Path) -> None:
    detector = Statistics(run_context(tmp_path), StatisticsSettings(views=["level_16", "level_256"]))
    detector.fit(recordings(data))
    clips = recordings(data, split=Split.TEST)
    first, second = detector.embed(clips)[:2]
    apart = {name: (rows[0] - rows[1]) / detector.spreads[name] for name, rows in detector.vectors(clips).items()}
    assert len({len(each) for each in apart.values()}) == 2
    assert np.sum((first - second) ** 2) == pytest.approx(sum(np.mean(each**2) for each in apart.values()))


def altered(data: Path, change: Callable[[np.ndarray], np.ndarray], folder: Path) -> Recordings:
    """The test clips of a machine, changed."""
    clips = list_clips(data, "fan", Split.TEST)
    (folder / "fan/test").mkdir(parents=True)
    for clip in clips:
        waveform, rate_hz = read_wav(clip.path)
        write_wav(folder / "fan/test" / clip.name, change(waveform).astype(np.float32), rate_hz)
    return check(list_clips(folder, "fan", Split.TEST), sample_rate_hz=16000)


@pytest.fixture(scope="module")
def default(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Statistics:
    return fitted(data, tmp_path_factory.mktemp("default"))


def z_of(detector: Statistics, part: Part, clips: Recordings) -> np.ndarray:
    """z scores of a part: the highest of its bands."""
    scaled = {name: detector.vectors(clips)[name] / detector.spreads[name] for name in part.views}
    bands, sections = [(part, number) for number in range(part.n_bands)], np.zeros(len(clips), np.int64)
    return np.max([detector.fitted[band].z(columns_of(band, scaled), sections) for band in bands], axis=0)


def test_the_ensemble_is_the_weighted_mean_of_its_groups(data: Path, default: Statistics) -> None:
    scores = default.score(recordings(data, split=Split.TEST))
    weights = dict.fromkeys(GROUPS, 0.35) | {"level": 1.0, "joint": 1.0, "local": 0.75}
    weights |= dict.fromkeys(["flux", "modulation", "variation"], 0.1)
    expected = sum(weight * scores[name] for name, weight in weights.items()) / sum(weights.values())
    np.testing.assert_allclose(scores["ensemble"], expected, atol=1e-12)


def test_a_joint_part_is_whitened_side_by_side(data: Path, default: Statistics) -> None:
    train, test = recordings(data), recordings(data, split=Split.TEST)
    names = ["level_64", "flux_64", "roughness_64"]
    conditions = references_of(train.clips, np.zeros((len(train), 1))).conditions

    def side_by_side(vectors: dict[str, np.ndarray]) -> np.ndarray:
        parts = []
        for name in names:
            reference = default.vectors(train)[name]
            means = np.stack([reference[conditions == c].mean(0) for c in conditions])
            variance = ((reference - means) ** 2).sum(0) / (len(reference) - len(set(conditions)))
            spread = np.sqrt(variance + (0.05 * np.median(np.sqrt(variance))) ** 2)
            parts.append(vectors[name] / spread)
        return np.concatenate(parts, axis=1)

    places = np.tile(np.arange(64) / 64, 3)  # of 64 mel bands on the frequency axis
    faults = fault_covariance(places, np.repeat(np.arange(3), 64))
    levels = default.spreads["level_64"]
    backend = backend_named("knn_relative", shrinkage=1.0, faults=faults, levels=levels, **OF_THE_DEFAULT)
    backend.fit(references_of(train.clips, side_by_side(default.vectors(train))))
    own = backend.leave_one_out()
    assert own is not None
    expected = (backend.score(side_by_side(default.vectors(test))) - own.mean()) / own.std()
    part = next(part for part in GROUPS["joint"].parts if part.views == tuple(names))
    np.testing.assert_allclose(z_of(default, part, test), expected, rtol=1e-6, atol=1e-8)


def test_neither_gain_nor_offset_changes_a_score(data: Path, tmp_path: Path, default: Statistics) -> None:
    plain = default.score(recordings(data, split=Split.TEST))["ensemble"]
    quieter = default.score(altered(data, lambda x: 0.5 * x + 0.01, tmp_path))["ensemble"]
    np.testing.assert_allclose(quieter, plain, atol=0.1 * plain.std())
    assert np.corrcoef(quieter, plain)[0, 1] > 0.999


def test_a_louder_fault_scores_higher(data: Path, tmp_path: Path, default: Statistics) -> None:
    whistle = np.sin(2 * np.pi * 2900 * np.arange(32000) / 16000)[None]
    means = []
    for snr_db in (-40, -25, -10, 5):

        def faulty(wave: np.ndarray, snr_db: int = snr_db) -> np.ndarray:
            gain = wave.std() * np.sqrt(2) * 10 ** (snr_db / 20)
            return wave + gain * whistle[:, : wave.shape[1]]

        means.append(default.score(altered(data, faulty, tmp_path / str(snr_db)))["ensemble"].mean())
    assert means == sorted(means)
    assert means[-1] > means[0] + 3.0


def test_speed_and_tilt_move_the_levels_of_a_spectrum() -> None:
    spreads = {"level_64": np.arange(1.0, 65.0), "flux_64": np.ones(64), "variation": np.ones(32)}
    ramp = np.linspace(-1.0, 1.0, 64) / spreads["level_64"]
    whole = relative_options(Part(("level_64", "flux_64")), spreads)
    np.testing.assert_allclose(whole["tilt"], ramp)
    np.testing.assert_array_equal(whole["levels"], spreads["level_64"])
    third = relative_options(Part(("level_64", "flux_64"), n_bands=4), spreads, 2)
    np.testing.assert_allclose(third["tilt"], ramp[28:52])
    np.testing.assert_array_equal(third["levels"], np.arange(29.0, 53.0))
    for views in (("flux_64",), ("variation",)):
        assert not {"tilt", "levels"} & relative_options(Part(views), spreads).keys()


def test_without_target_clips_a_tilt_of_the_spectrum_is_less_suspicious(tmp_path: Path) -> None:
    data = tone_machine(tmp_path / "data", n_target=0)
    named, test = recordings(data), recordings(data, split=Split.TEST)
    unnamed = replace(named, clips=[replace(clip, domain=None) for clip in named.clips])
    tilted = altered(data, lambda x: np.apply_along_axis(np.convolve, 1, x, [1.0, 0.4])[:, : x.shape[1]], tmp_path)
    further = []
    for train in (named, unnamed):
        detector = Statistics(run_context(tmp_path))
        detector.fit(train)
        scores, scores_of_tilted = detector.score(test), detector.score(tilted)
        further.append({name: (scores_of_tilted[name] - scores[name]).mean() for name in detector.scorers})
    for group in ("level", "joint", "local", "ensemble"):
        assert 0 < further[0][group] < 0.9 * further[1][group]
    assert further[0]["flux"] == further[1]["flux"]


def test_a_copy_of_a_target_reference_is_normal(data: Path, default: Statistics) -> None:
    train = recordings(data)
    targets = [i for i, clip in enumerate(train.clips) if clip.domain is Domain.TARGET]
    copies = default.score(train.subset(targets))["ensemble"]
    assert (copies < default.score_training(train)["ensemble"].max()).all()


def test_equal_clips_score_equally_in_any_order_and_company(data: Path, default: Statistics) -> None:
    test = recordings(data, split=Split.TEST)
    order = np.random.default_rng(0).permutation(len(test))
    together = default.score(test)["ensemble"]
    np.testing.assert_allclose(default.score(test.subset(order))["ensemble"], together[order], atol=1e-4)
    np.testing.assert_allclose(default.score(test.subset([3, 3]))["ensemble"], together[[3, 3]], atol=1e-4)


def test_the_highest_band_of_a_local_part_counts(data: Path, default: Statistics) -> None:
    train, test = recordings(data), recordings(data, split=Split.TEST)
    part = next(part for part in GROUPS["local"].parts if part.n_bands == 4)
    rows = [slice(0, 20), slice(12, 36), slice(28, 52), slice(44, 64)]  # of 64 mel bands, a quarter beyond each edge
    scores = []
    for bands in rows:
        places = np.arange(64)[bands] / 64
        faults = fault_covariance(np.tile(places, 2), np.repeat([0, 1], len(places)))
        levels = default.spreads["level_64"][bands]
        backend = backend_named("knn_relative", shrinkage=0.5, faults=faults, levels=levels, **OF_THE_DEFAULT)
        reference, query = (
            np.concatenate([vectors[name][:, bands] / default.spreads[name][bands] for name in part.views], 1)
            for vectors in (default.vectors(train), default.vectors(test))
        )
        backend.fit(references_of(train.clips, reference))
        own = backend.leave_one_out()
        assert own is not None
        scores.append((backend.score(query) - own.mean()) / own.std())
    np.testing.assert_allclose(z_of(default, part, test), np.max(scores, axis=0), rtol=1e-6, atol=1e-8)


def test_a_view_of_two_groups_keeps_a_back_end_for_each(data: Path, tmp_path: Path) -> None:
    detector = fitted(data, tmp_path, views=["level", "level_16"])
    detector.save(tmp_path)
    again = Statistics(run_context(tmp_path), StatisticsSettings(views=["level", "level_16"]))
    again.load(tmp_path)
    test = recordings(data, split=Split.TEST)
    for scorer, scores in detector.score(test).items():
        np.testing.assert_array_equal(again.score(test)[scorer], scores)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_named_by_its_recording(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    detector, clips = fitted(data, tmp_path), recordings(data)
    second = min(int(indices[1]) for indices, _ in clips.batches(max_samples=1 << 20))
    forward = type(detector.extract).forward

    def broken(self: torch.nn.Module, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        views = forward(self, waveforms)
        next(iter(views.values()))[1, 3] = value
        return views

    monkeypatch.setattr(type(detector.extract), "forward", broken)
    with pytest.raises(AsdError, match=rf"the view \w+ of \S+{clips.clips[second].name} holds NaN or infinity"):
        detector.score(clips)
