"""Supplemental recordings: found, checked and used as the words say, through the real stages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from asd.challenge.names import CONTENT
from asd.core.files import load_tensors
from asd.data.audio import Sound
from asd.data.supplemental import LEAST_SNR_DB, MOST_SNR_DB, NOTHING, MixedSound, mix, mix_noise
from asd.detectors.base import RunContext
from asd.settings.config import Run
from asd.stages.jobs import Job, dataset_of, prepare
from asd.synthetic import make_machines
from asd.types import NEAR
from tests.command import ONE_VIEW, refuses, succeeds
from tests.machines import write_clip

N_TRAIN, N_BESIDE = 11, 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("halls")
    make_machines(
        root, ["fan"], train_source=8, train_target=3, test_per_cell=2, duration_s=0.5, snr_db=0, supplemental=N_BESIDE
    )
    return root


def job(data: Path, runs: Path, seed: int = 0, **uses: str) -> Job:
    config = Run(data=data, runs=runs, seeds=[seed], supplemental=uses)  # type: ignore[arg-type]
    (found,) = prepare(config, dataset_of(config), learn=True)
    assert found.learn is not None
    return found


def train(made: Path, runs: Path, *words: str) -> Path:
    name = re.sub(r"\W", "_", "-".join(words)) or "plain"
    succeeds("train", f"data={made}", f"runs={runs}", f"name={name}", ONE_VIEW, *words)
    return runs / name / "fan/seed0"


def test_nothing_is_used_unless_asked_for(made: Path, tmp_path: Path) -> None:
    found = job(made, tmp_path)
    assert found.supplement == NOTHING
    assert found.learn is not None
    assert found.learn.front_end == NEAR
    assert found.data_hash != job(made, tmp_path, noise="mix").data_hash


def test_noise_is_mixed_into_copies_of_the_training_clips(made: Path, tmp_path: Path) -> None:
    found = job(made, tmp_path, noise="mix")
    learn, noisy = found.learn, found.supplement.extra_normals
    assert learn is not None
    assert noisy is not None
    assert noisy.clips == learn.clips
    for index, mixed in enumerate(noisy.sounds):
        copy, clip = noisy.waveform(index), learn.waveform(index)
        added_db = 10 * np.log10(np.square(copy - clip).mean() / np.square(clip).mean())
        assert isinstance(mixed, MixedSound)
        assert mixed.noise.path
        assert "_noise_" in mixed.noise.path.name
        assert added_db == pytest.approx(-mixed.snr_db, abs=0.01)
    other = job(made, tmp_path, seed=1, noise="mix").supplement.extra_normals
    assert other is not None
    assert other.fingerprint != noisy.fingerprint


def test_clean_clips_are_learnt_from_and_noise_is_kept_apart(made: Path, tmp_path: Path) -> None:
    found = job(made, tmp_path, noise="negatives", clean="references")
    extra, noise = found.supplement.extra_normals, found.supplement.noise_only
    assert found.learn is not None
    assert extra is not None
    assert noise is not None
    assert {clip.attributes[CONTENT] for clip in extra.clips} == {"machine"}
    assert {clip.machine for clip in noise.clips} == {"fan-noise"}
    assert len(noise) == N_BESIDE
    context = RunContext(torch.device("cpu"), tmp_path, tmp_path, supplement=found.supplement)
    assert context.all_normals(found.learn).clips == (*found.learn.clips, *extra.clips)
    assert len(extra) == N_BESIDE


def test_everything_goes_through_the_front_end_of_the_training_clips(made: Path, tmp_path: Path) -> None:
    found = job(made, tmp_path, noise="negatives", clean="activity")
    assert found.learn is not None
    assert found.learn.front_end.activity
    assert found.supplement.noise_only is not None
    assert found.supplement.noise_only.front_end == found.learn.front_end


def test_a_front_end_learns_from_them(made: Path, tmp_path: Path) -> None:
    learn = job(made, tmp_path, noise="profile", clean="activity").learn
    assert learn is not None
    assert (len(learn.front_end.profile), len(learn.front_end.activity)) == (257, 33)
    assert min(learn.front_end.profile) > 0
    again = job(made, tmp_path, noise="profile", clean="activity").learn
    assert again is not None
    assert again.front_end == learn.front_end


@pytest.mark.parametrize("detector", ["statistics", "autoencoder"])
@pytest.mark.parametrize(
    "word", ["noise=mix", "noise=profile", "clean=references", "clean=activity", "noise=negatives"]
)
def test_every_use_changes_the_scores_of_a_detector_that_has_it(
    made: Path, tmp_path: Path, detector: str, word: str
) -> None:
    words = (f"detector={detector}", "training.epochs=1", "seed=0")
    if (detector, word) == ("autoencoder", "noise=negatives"):
        saying = "negatives works on clips as vectors, which detector=autoencoder does not know"
        refuses("train", f"data={made}", f"runs={tmp_path}", *words, f"supplemental.{word}", saying=saying)
        return
    scorer = "ensemble" if detector == "statistics" else "mahalanobis"
    plain, used = train(made, tmp_path, *words), train(made, tmp_path, *words, f"supplemental.{word}")
    scores = [pd.read_csv(run / f"scores/{scorer}.csv")["score"] for run in (plain, used)]
    assert len(scores[0]) == len(scores[1]) == 8
    assert np.isfinite(scores[1]).all()
    assert (scores[0] != scores[1]).all()
    training = [pd.read_csv(run / "model/training_scores.csv")["file"].tolist() for run in (plain, used)]
    assert training[0] == training[1]  # what was learnt besides is not scored


@pytest.mark.slow
@pytest.mark.parametrize("word", ["noise=mix", "noise=negatives", "clean=references"])
def test_the_embedding_learns_from_them(made: Path, tmp_path: Path, word: str) -> None:
    words = (
        "detector=embedding",
        "embedding.encoder=multires_cnn",
        "embedding.epochs=1",
        "embedding.width=8",
        f"supplemental.{word}",
    )
    run = train(made, tmp_path, *words)
    learnt = load_tensors(run / "model/bank.safetensors")[0]["knn.0.sections"]
    assert len(learnt) == N_TRAIN + {"noise=mix": N_TRAIN, "clean=references": N_BESIDE}.get(word, 0)
    assert len(pd.read_csv(run / "model/training_scores.csv")) == N_TRAIN


def test_a_trained_front_end_scores_clips_that_have_no_noise_beside_them(made: Path, tmp_path: Path) -> None:
    run = train(made, tmp_path, "supplemental.noise=profile")
    before = pd.read_csv(run / "scores/ensemble.csv")
    profile = json.loads((run / "model/front_end.json").read_text())["profile"]
    assert len(profile) == 257
    assert json.loads((run / "model/facts.json").read_text())["front_end"].startswith("spectral subtraction")
    elsewhere = tmp_path / "elsewhere/fan/test"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.symlink_to(made / "fan/test")
    data, name = tmp_path / "elsewhere", run.parents[1].name
    succeeds("score", "machine=fan", f"data={data}", f"runs={tmp_path}", f"name={name}")
    pd.testing.assert_frame_equal(pd.read_csv(run / "scores/ensemble.csv"), before)


def test_a_machine_without_them_is_named_and_trained(tmp_path: Path) -> None:
    make_machines(tmp_path, ["fan"], train_source=8, train_target=3, test_per_cell=1, duration_s=0.5)
    answer = succeeds("train", f"data={tmp_path}", f"runs={tmp_path / 'runs'}", ONE_VIEW, "supplemental.noise=mix")
    assert "WARNING: fan has no noise-only recordings in supplemental/: supplemental.noise=mix" in answer.err


def test_a_broken_or_nameless_one_is_refused(made: Path, tmp_path: Path) -> None:
    make_machines(tmp_path, ["fan"], train_source=8, train_target=3, test_per_cell=1, duration_s=0.5)
    words = ("train", f"data={tmp_path}", f"runs={tmp_path / 'runs'}", "supplemental.noise=mix")
    clip = write_clip(tmp_path / "fan/supplemental/section_00_source_0000.wav", 0)
    refuses(*words, saying=rf"{clip} does not say what is recorded: put 'noise' or 'machine' into its name")
    clip.unlink()
    clip = write_clip(tmp_path / "fan/supplemental/section_00_noise_0000.wav", 0)
    clip.write_bytes(clip.read_bytes()[:5000])
    refuses(*words, saying=rf"{clip} is truncated")
    soundfile.write(clip, np.random.default_rng(0).uniform(-9000, 9000, 8000), 16000, subtype="FLOAT")
    refuses(*words, saying=rf"{clip} holds floats far beyond 1, and 11 of 12 recordings keep to the full scale of 1")


def test_joint_learning_and_supplemental_recordings_exclude_each_other(made: Path, tmp_path: Path) -> None:
    words = ("detector=embedding", "embedding.encoder=multires_cnn", "embedding.joint=true", "supplemental.noise=mix")
    saying = r"embedding\.joint=true learns from all machines and supplemental\.\* from one"
    refuses("train", f"data={made}", f"runs={tmp_path}", *words, saying=saying)


def waves(n: int, *levels: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([level * rng.normal(size=n) for level in levels]).astype(np.float32)


def sounds(n: int, seed: int = 0) -> list[Sound]:
    return [Sound.of(waves(100, 0.1, seed=seed + i), 16000) for i in range(n)]


@pytest.mark.parametrize("snr_db", [-6.0, 0.0, 12.0])
@pytest.mark.parametrize("n_noise", [1000, 4000, 9000])
def test_the_ratio_holds_for_the_first_channel(snr_db: float, n_noise: int) -> None:
    clip, noise = waves(4000, 0.1, 0.02), waves(n_noise, 0.5, 1.0, seed=1)
    added = mix(clip, noise, snr_db, 0.4) - clip
    ratio_db = 10 * np.log10(np.square(clip[0]).mean() / np.square(added[0]).mean())
    assert ratio_db == pytest.approx(snr_db, abs=0.01)
    start = int(0.4 * n_noise)
    gains = added[:, 5] / noise[:, (start + 5) % n_noise]
    assert gains[0] == pytest.approx(gains[1], rel=1e-3)  # one gain for both, as in a room


def test_silence_stays_without_the_other() -> None:
    clip, silence = waves(100, 0.1), waves(100, 0.0)
    np.testing.assert_array_equal(mix(clip, silence, 0.0, 0.0), clip)
    np.testing.assert_array_equal(mix(silence, clip, 0.0, 0.0), silence)


def test_draws_are_a_function_of_the_seed_and_the_place() -> None:
    some, noises = sounds(200), sounds(5, 1000)
    mixed = mix_noise(some, noises, 3)
    facts = [(one.recording, one.noise, one.snr_db, one.start) for one in mixed]
    assert facts[:50] == [(m.recording, m.noise, m.snr_db, m.start) for m in mix_noise(some[:50], noises, 3)]
    assert [m.content for m in mixed] != [m.content for m in mix_noise(some, noises, 4)]
    assert [m.recording for m in mixed] == some
    assert {m.noise for m in mixed} == set(noises)
    levels = np.array([one.snr_db for one in mixed])
    assert LEAST_SNR_DB <= levels.min() < LEAST_SNR_DB + 1
    assert MOST_SNR_DB - 1 < levels.max() <= MOST_SNR_DB


def test_what_is_mixed_is_another_sound_of_the_same_length() -> None:
    recording, noise = Sound.of(waves(100, 0.1, 0.1), 16000), Sound.of(waves(70, 0.3, 0.2, seed=1), 16000)
    mixed = MixedSound.with_noise(recording, noise, 3.0, 0.25)
    for n_microphones in (1, 2):
        wanted = mix(recording.waveform(n_microphones), noise.waveform(n_microphones), 3.0, 0.25)
        np.testing.assert_array_equal(mixed.waveform(n_microphones), wanted)
    assert (mixed.n_samples, mixed.n_channels) == (100, 2)
    others = [(noise, recording, 3.0, 0.25), (recording, noise, 2.0, 0.25), (recording, noise, 3.0, 0.2)]
    contents = {MixedSound.with_noise(*other).content for other in others}
    assert len(contents | {mixed.content, recording.content}) == 5
