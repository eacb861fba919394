"""`import asd`: fitted on arrays, files and folders, it says what the stages say."""

from __future__ import annotations

import gc
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import soundfile
import torch

import asd
from asd.data.given import clips_of_files
from asd.data.recordings import Recordings
from asd.detectors.base import Detector, Scores
from asd.detectors.windowed import Windowed
from asd.runs import RunDirectory
from asd.types import AsdError, Split
from tests.command import succeeds
from tests.loudness import Loudness
from tests.machines import recordings, tone_machine, write_clip
from tests.test_build import Energies
from tests.trees import NORMAL, write_tree

RATE = 16000
ONE_VIEW = {"views": ["modulation"]}  # where scores do not matter


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tone_machine(tmp_path_factory.mktemp("tones"), n_train=12, n_target=4, n_test=3)


@pytest.fixture
def data(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(tones, tmp_path / "data"))


def arrays(data: Path, part: str = "train") -> list[npt.NDArray[np.float32]]:
    from asd.data.audio import read_wav

    return [read_wav(path)[0][0] for path in sorted((data / "fan" / part).glob("*.wav"))]


def test_import_loads_nothing_until_it_is_asked() -> None:
    code = (
        "import sys, asd; assert not {'torch', 'numpy', 'pandas'} & sys.modules.keys();"
        "asd.metrics.auc([0, 1], [0, 1]); assert 'torch' not in sys.modules;"
        "assert {'fit', 'load', 'metrics', 'losses', 'networks', 'scoring'} <= {*dir(asd)};"
        "asd.losses.metric_learning; asd.networks.autoencoder; asd.scoring.threshold"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
    assert {"binary", "metric_learning"} <= {*dir(asd.losses)}
    assert {"beats", "resnet_se"} <= {*dir(asd.networks)}
    assert {"neighbours", "threshold"} <= {*dir(asd.scoring)}
    for package in (asd, asd.losses, asd.networks, asd.scoring):
        with pytest.raises(AttributeError, match="has no attribute 'nothing'; it has "):
            package.nothing  # noqa: B018


def test_a_folder_gives_what_the_stages_give(data: Path) -> None:
    succeeds("train", "machine=fan", "data=data", "name=staged", "views=modulation")
    staged = pd.read_csv("runs/staged/fan/seed0/scores/ensemble.csv")
    for model in (asd.load("runs/staged"), asd.fit(data / "fan/train", machine="fan", options=ONE_VIEW)):
        table = model.score_files(data / "fan/test").sort_values("path")
        np.testing.assert_allclose(table["score"], staged.sort_values("file")["score"], rtol=1e-9)
        assert [Path(file).name for file in table["path"]] == sorted(staged["file"])
        assert table["decision"].tolist() == staged.sort_values("file")["decision"].tolist()


def test_arrays_are_enough(data: Path) -> None:
    model = asd.fit(arrays(data), sample_rate_hz=RATE)
    scores = [model.score(waveform, RATE) for waveform in arrays(data, "test")]
    anomalous = ["anomaly" in path.name for path in sorted((data / "fan/test").glob("*.wav"))]
    assert asd.metrics.auc(anomalous, [found.score for found in scores]) == 1.0
    for found in scores:
        assert found.decision is (found.score > found.threshold)
        assert found.scorer == model.scorers[0]
    of_files = model.score_files(sorted((data / "fan/test").glob("*.wav")))["score"]
    np.testing.assert_allclose(of_files, [found.score for found in scores], rtol=1e-4)


def test_saved_and_loaded_it_says_the_same(data: Path) -> None:
    options = {"training.epochs": 1, "n_mels": 16, "decision.quantile": 0.8}
    model = asd.fit(arrays(data), RATE, detector="autoencoder", options=options, seed=3)
    model.save("runs/mine", machine="fan")
    again = asd.load("runs/mine", machine="fan")
    waveform = arrays(data, "test")[0]
    for scorer in model.scorers:
        assert again.score(waveform, RATE, scorer).score == pytest.approx(model.score(waveform, RATE, scorer).score)
    assert again.options.autoencoder.training.epochs == 1
    assert again.thresholds == model.thresholds
    assert again.thresholds["mse"].quantile == 0.8
    with pytest.raises(AsdError, match="is saved already"):
        again.save("runs/other")
    succeeds("score", "name=mine", "machine=fan", "data=data", "seed=3")


@pytest.mark.parametrize(("n", "said"), [(6, "with 6 normal recordings and a confidence of 95%, at most "), (10, "")])
def test_few_recordings_promise_little(n: int, said: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="asd"):
        asd.fit(np.random.default_rng(0).normal(0, 0.1, (n, 16000)), RATE, options=ONE_VIEW)
    assert said in caplog.text
    assert bool(said) is ("normal recordings are called anomalous, and faults may not be; give more" in caplog.text)


def test_another_length_than_that_of_the_normal_recordings_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (20, 16000))
    model = asd.fit(noise, sample_rate_hz=16000)
    with caplog.at_level("WARNING", logger="asd"):
        model.score(noise[0], 16000)
        assert caplog.text == ""
        short = model.score(noise[0, :4000], 16000)
        model.score(noise[1, :4000], 16000)
    assert short.decision  # though it is normal
    assert caplog.text.count("1 of 1 recordings last 0.25 s, and those that were learnt from 1 s") == 1


def test_what_is_as_long_as_a_window_is_not_called_short(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (10, 16000))
    model = asd.fit(noise, RATE, options={**ONE_VIEW, "window_s": 0.25})
    for each in (model, asd.load(model.save(tmp_path / "run"))):
        each.score(noise[0, :8000], RATE)
        assert "recordings last" not in caplog.text
        each.score(noise[0, :3200], RATE)
        assert "recordings last 0.2 s, and those that were learnt from 0.25 to 1 s" in caplog.text
        caplog.clear()


def test_each_kind_of_difference_from_the_normal_recordings_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (20, 16000))
    for i, clip in enumerate(noise):
        soundfile.write(tmp_path / f"{i}.wav", clip, 16000)
    model = asd.fit(tmp_path, sample_rate_hz=16000)
    soundfile.write(tmp_path / "narrow.wav", noise[0, :8000], 8000)
    soundfile.write(tmp_path / "short.wav", noise[0, :8000], 16000)
    with caplog.at_level("WARNING", logger="asd"):
        for name in ("narrow.wav", "short.wav", "narrow.wav", "short.wav"):
            model.score_files(tmp_path / name)
    assert caplog.text.count("hold nothing above 4000 Hz") == caplog.text.count("recordings last 0.5 s") == 1


def test_two_recordings_promise_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="asd"):
        model = asd.fit(np.random.default_rng(0).normal(0, 0.1, (2, 16000)), RATE, options=ONE_VIEW)
    assert "all 2 normal recordings score the same, so nothing tells how far a new one may lie" in caplog.text
    assert model.thresholds["ensemble"].false_alarm_bound == 1.0


def test_the_place_where_a_model_works_goes_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = asd.fit(np.random.default_rng(0).normal(0, 0.1, (6, 16000)), RATE, options=ONE_VIEW)
    assert not list(tmp_path.iterdir())  # which a process that is killed would leave
    model.detector.context.directory.mkdir(parents=True)  # as training by gradient does
    assert len(list(tmp_path.iterdir())) == 1
    del model
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_nothing_of_recordings_that_are_scored_is_kept(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    options = {"training.epochs": 1}
    model = asd.fit(data / "fan/train", detector="autoencoder", options=options, device="cpu")
    before = sorted(tmp_path.rglob("*"))
    first, again = (model.score_files(data / "fan/test") for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert sorted(tmp_path.rglob("*")) == before  # a service would fill its disk


def test_a_detector_of_ones_own_by_its_class(data: Path) -> None:
    model = asd.fit(arrays(data), RATE, detector=Loudness, options={"floor_db": -5.0})
    assert model.score(arrays(data)[0], RATE).score == 0.0
    assert isinstance(model.detector, Windowed)
    assert isinstance(model.detector.detector, Loudness)


def test_recordings_are_taken_as_they_are(data: Path) -> None:
    one, other = (asd.fit(normal, options=ONE_VIEW) for normal in (recordings(data), data / "fan/train"))
    waveform = arrays(data, "test")[0]
    assert one.score(waveform, RATE) == other.score(waveform, RATE)


def test_one_machine_of_several_is_named(data: Path) -> None:
    tone_machine(data, "pump", n_train=12, n_target=4, n_test=3)
    succeeds("train", "data=data", "views=modulation")
    with pytest.raises(AsdError, match=r"has several machines \(fan, pump\); name one with machine="):
        asd.load("runs/statistics")
    with pytest.raises(AsdError, match="has no machine valve; it has fan, pump"):
        asd.load("runs/statistics", machine="valve")
    assert asd.load("runs/statistics", machine="pump").options.machine == ["pump"]
    with pytest.raises(AsdError, match=r"seed='0' is no whole number; write it as in seed=0"):
        asd.load("runs/statistics", machine="pump", seed="0")  # type: ignore[arg-type]
    with pytest.raises(AsdError, match=r"pump holds no complete run with seed=1 \(there are: 0\)"):
        asd.load("runs/statistics", machine="pump", seed=1)
    Path("runs/statistics/fan/seed0/DONE").unlink()
    with pytest.raises(AsdError, match=r"statistics/fan holds no complete run; start the same train or enroll again"):
        asd.load("runs/statistics", machine="fan")
    Path("runs/statistics/fan/seed0/DONE").write_text("junk")
    assert asd.load("runs/statistics", machine="pump").options.machine == ["pump"]  # whatever is wrong with another
    Path("runs/statistics/fan/seed0/DONE").unlink()
    succeeds("train", "data=data", "views=modulation")
    with pytest.raises(AsdError, match="does not exist"):
        asd.load("runs/other")
    succeeds("fuse", "members=statistics,statistics:modulation", "name=both")
    with pytest.raises(AsdError, match=r"is a fusion of .* and has no model of its own"):
        asd.load("runs/both", machine="fan")


def test_what_cannot_be_fitted_is_one_sentence(data: Path) -> None:
    normal = arrays(data)
    with pytest.raises(AsdError, match="waveform 1 is silent"):
        asd.fit([normal[0], np.zeros(RATE, np.float32), *normal], RATE)
    with pytest.raises(AsdError, match="waveform 0 has 100 samples, the detector needs"):
        asd.fit([normal[0][:100]], RATE)
    with pytest.raises(AsdError, match="unknown key 'bakend': did you mean backend"):
        asd.fit(normal, RATE, options={"bakend": "knn"})
    with pytest.raises(AsdError, match="detector=knn is unknown"):
        asd.fit(normal, RATE, detector="knn")
    for rate_hz in (0, -1, float("nan"), 16000.5, 1e9, "fast"):
        with pytest.raises(AsdError, match=r"sample_rate_hz=.* does not fit"):
            asd.fit(normal, rate_hz)  # type: ignore[arg-type]
    with pytest.raises(AsdError, match="'a/b' has a slash"):
        asd.fit(normal, RATE, machine="a/b")
    with pytest.raises(AsdError, match="names no recordings"):
        asd.fit([*normal, "a.wav"], RATE)


@pytest.mark.parametrize(
    ("options", "saying"),
    [
        ({"sample_rate_hz": 8000}, "sample_rate_hz is an argument of fit"),
        ({"machine": "pump"}, "machine is an argument of fit"),
        ({"normal": "good"}, "normal is an option of train that fit has no use for"),
        ({"supplemental.noise": "mix"}, "supplemental is an option of train that fit has no use for"),
        ({"held_out": 0.5}, "held_out is an option of train that fit has no use for"),
        (["backend"], "is no mapping; give names and values"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(data: Path, options: Any, saying: str) -> None:
    with pytest.raises(AsdError, match=saying):
        asd.fit(arrays(data), RATE, options=options)


@pytest.mark.parametrize("options", [{"embedding.loss": "arcface"}, {"embedding": {"loss": "arcface"}}])
def test_an_option_of_another_detector_is_named(
    data: Path, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    asd.fit(arrays(data), RATE, options={**ONE_VIEW, **options})
    assert "embedding.loss= has no effect with detector=statistics" in caplog.text


def test_a_model_is_loaded_by_whatever_folder_of_its_run_is_named(data: Path) -> None:
    model = asd.fit(arrays(data), RATE, options=ONE_VIEW, machine="fan", seed=3)
    for path in ("runs/my run", ".hidden"):
        with pytest.raises(AsdError, match=r"name=.* does not fit"):
            model.save(path)
    for path in ("", None, b"runs/mine"):
        with pytest.raises(AsdError, match=r"names no run; give its folder"):
            model.save(path)  # type: ignore[arg-type]
    with pytest.raises(AsdError, match="has a slash"):
        model.save("runs/mine", machine="../fan")
    assert not Path("runs").exists()
    saved = model.save("runs/mine")
    for place in (saved, str(saved.parent), "runs/mine"):
        assert asd.load(place).score(arrays(data)[0], RATE) == model.score(arrays(data)[0], RATE)
    shutil.copytree(saved, "backup")
    for place, saying in {
        "backup": "backup is a model whose folder names no seed; call it seed0",
        "": "'' names no run", None: "None names no run", "runs": "is a folder of runs; name one of them: mine",
        saved / "config.yaml": "is a file, and a run is a folder", data: "holds no complete run",
    }.items():  # fmt: skip
        with pytest.raises(AsdError, match=saying):
            asd.load(place)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        ("{}", "has no threshold of ensemble; .*overwrite=true writes it anew"),
        ('{"ensemble": {"value": NaN}}', "is damaged .the one of ensemble is nan.; .*overwrite=true writes it anew"),
        ('{"ensemble": {"value": "1"}}', "is damaged .the one of ensemble is 1.; .*overwrite=true writes it anew"),
        ('{"ensemble": 1}', "is damaged .the one of ensemble is None.; .*overwrite=true writes it anew"),
        ('{"ensemble": {"value": 1.0}}', "is damaged .'parameters'.; .*overwrite=true writes it anew"),
        (None, r"config\.yaml is missing; train the run again"),
    ],
)
def test_a_run_without_its_thresholds_or_options_is_not_loaded(data: Path, content: str | None, saying: str) -> None:
    saved = asd.fit(arrays(data), RATE, options=ONE_VIEW).save("runs/mine")
    if content is None:
        (saved / "config.yaml").unlink()
    else:
        (saved / "scores/thresholds.json").write_text(content)
    with pytest.raises(AsdError, match=saying):
        asd.load("runs/mine")


def test_a_save_that_fails_leaves_the_model_that_was_there(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (asd.fit(part, RATE, options=ONE_VIEW) for part in (arrays(data)[:8], arrays(data)))
    saved = first.save("runs/mine")

    def full(*given: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(asd.library.RunDirectory, "finish", full)
    with pytest.raises(AsdError, match=r"cannot write runs/mine.*free some space"):
        second.save("runs/mine")
    with RunDirectory(saved).alone(), pytest.raises(AsdError, match="another command works on"):
        second.save("runs/mine")
    waveform = arrays(data, "test")[0]
    assert asd.load("runs/mine").score(waveform, RATE).score == first.score(waveform, RATE).score
    assert [path.name for path in saved.parent.iterdir()] == ["seed0"]


def test_a_device_of_torch_is_a_device(data: Path) -> None:
    saved = asd.fit(arrays(data), RATE, options=ONE_VIEW, device=torch.device("cpu")).save("runs/mine")
    assert asd.load(saved, device=torch.device("cpu")).detector.context.device.type == "cpu"
    with pytest.raises(AsdError, match=r"^device=None is not a device torch knows; use auto, cpu or cuda$"):
        asd.load(saved, device=None)


def test_a_model_that_nothing_could_load_again_is_not_saved(data: Path) -> None:
    module = Energies().requires_grad_(False)
    model = asd.fit(arrays(data), RATE, detector="embedding", options={"encoder": module, "backends": ["knn"]})
    with pytest.raises(AsdError, match=r"is a module of the class Energies, and no name makes it again: .* package"):
        model.save("runs/mine")
    assert not Path("runs").exists()
    again = pickle.loads(pickle.dumps(model))
    assert again.score(arrays(data)[0], RATE) == model.score(arrays(data)[0], RATE)


def test_a_model_is_saved_through_a_link_in_the_place_of_its_machine(data: Path) -> None:
    model = asd.fit(arrays(data), RATE, options=ONE_VIEW, machine="fan")
    Path("disk/7").mkdir(parents=True)
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/fan").symlink_to(Path("disk/7").absolute())
    model.save("runs/mine")
    assert asd.load("runs/mine").score(arrays(data)[0], RATE) == model.score(arrays(data)[0], RATE)
    assert Path("disk/7/seed0/DONE").is_file()


def test_a_configuration_that_is_not_that_of_the_model_is_warned_of(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved = asd.fit(arrays(data), RATE, options=ONE_VIEW).save("runs/mine")
    asd.load(saved)
    assert "other options" not in caplog.text
    text = (saved / "config.yaml").read_text()
    (saved / "config.yaml").write_text(text.replace("window_s: null", "window_s: 0.5"))
    asd.load(saved)
    assert "config.yaml holds other options than the model was fitted with" in caplog.text


def test_a_home_is_found_and_a_user_that_there_is_not_is_a_folder(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    model = asd.fit(arrays(data), RATE, options=ONE_VIEW)
    model.save("~/runs/mine")
    assert Path("home/runs/mine").is_dir()
    assert asd.load("~/runs/mine").score(arrays(data)[0], RATE) == model.score(arrays(data)[0], RATE)
    assert not Path("~").exists()
    with pytest.raises(AsdError, match="~no-such-user/new does not exist"):
        model.score_files("~no-such-user/new")


@pytest.mark.parametrize("detector", [None, object()])
def test_a_detector_that_is_none_is_one_sentence(data: Path, detector: Any) -> None:
    with pytest.raises(AsdError, match="is no detector; give a name or a class"):
        asd.fit(arrays(data), RATE, detector=detector)


class TooFew(Loudness):
    def score(self, recordings: Recordings) -> Scores:
        return {"level": np.zeros(len(recordings) - 1)}


class OneArray(Loudness):
    def score(self, recordings: Recordings) -> Any:
        return np.zeros(len(recordings))


class AnotherName(Loudness):
    scorers = ("level", "peak")


class NoScorers(Loudness):
    scorers = ()


class HalfWritten(Detector):
    scorers = ("level",)

    def fit(self, recordings: Recordings) -> None: ...


@pytest.mark.parametrize(
    ("detector", "saying"),
    [
        (TooFew, r"TooFew\.score has to give 16 scores, .* its scorers \('level',\); it gave {'level': \(15,\)}"),
        (OneArray, r"OneArray\.score has to give .* it gave <class 'numpy.ndarray'>"),
        (AnotherName, r"AnotherName\.score has to give .* its scorers \('level', 'peak'\); it gave {'level': \(16,\)}"),
        (NoScorers, r"NoScorers\.score has to give .* its scorers \(\)"),
        (HalfWritten, r"HalfWritten lacks the methods facts, load, save, score; see"),
    ],
)
def test_a_detector_of_ones_own_that_breaks_the_rules_is_told_how(
    data: Path, detector: type[Detector], saying: str
) -> None:
    with pytest.raises(AsdError, match=saying):
        asd.fit(arrays(data), RATE, detector=detector)


def test_what_cannot_be_scored_is_one_sentence(data: Path) -> None:
    model = asd.fit(arrays(data), RATE, options=ONE_VIEW)
    for name in ("new/a.wav", b"new/a.wav", Path("new")):
        with pytest.raises(AsdError, match="is no waveform; score_files takes files, and folders of them"):
            model.score(name, RATE)  # type: ignore[arg-type]
    with pytest.raises(AsdError, match=r"fitted for 16000 Hz, not 8000 Hz; .*fit with sample_rate_hz=8000"):
        model.score(arrays(data)[0], 8000)
    with pytest.raises(AsdError, match="scorer=mse is unknown; there are ensemble, modulation"):
        model.score(arrays(data)[0], RATE, "mse")
    with pytest.raises(AsdError, match="has 10 samples, the detector needs"):
        model.score(np.ones(10), RATE)
    with pytest.raises(AsdError, match="nothing here does not exist"):
        model.score_files(data / "nothing here")
    for nothing in (None, 3):
        with pytest.raises(AsdError, match=f"{nothing} names no recordings"):
            model.score_files(nothing)  # type: ignore[arg-type]
    for unknown in ("07", "B"):
        with pytest.raises(AsdError, match=f"section={unknown} is none .* it has 00"):
            model.score(arrays(data)[0], RATE, section=unknown)
    assert model.score(arrays(data)[0], RATE, section=0) == model.score(arrays(data)[0], RATE)  # type: ignore[arg-type]


def test_two_microphones_are_one_array(data: Path) -> None:
    rng = np.random.default_rng(0)
    normal = [rng.normal(0, 0.1, (2, RATE)) for _ in range(12)]
    model = asd.fit(normal, RATE, options=ONE_VIEW)
    alone = asd.fit([pair[0] for pair in normal], RATE, options=ONE_VIEW)
    assert model.score(normal[3], RATE).score == pytest.approx(alone.score(normal[3][0], RATE).score)


@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_a_channel_that_is_not_used_may_be_silent_or_a_copy(data: Path, gain: float) -> None:
    stereo = [np.stack([wave, gain * wave]) for wave in arrays(data)]
    model = asd.fit(stereo, RATE, options=ONE_VIEW)
    assert model.score(stereo[0], RATE).defect is None
    with pytest.raises(AsdError, match=r"waveform 0 has .* (both microphones|far microphone)"):
        asd.fit(stereo, RATE, options=ONE_VIEW | {"frontend": "mean"})


@pytest.mark.parametrize("layout", NORMAL)
def test_of_a_labelled_folder_the_normal_recordings_are_learnt(tmp_path: Path, layout: str) -> None:
    write_tree(tmp_path / "data", layout)
    model = asd.fit(tmp_path / "data", options=ONE_VIEW)
    assert model.normal.spectra is not None
    learnt = {Path(path).relative_to(tmp_path / "data") for path in model.normal.spectra.paths}
    assert learnt == {Path(NORMAL[layout].format(i + 1)) for i in range(15)}


def test_folders_that_name_faults_decide_what_is_learnt(tmp_path: Path) -> None:
    for i in range(3):
        write_clip(tmp_path / f"all/monday/{i}.wav", i)
        write_clip(tmp_path / f"all/new/{i}.wav", 10 + i)
        write_clip(tmp_path / f"mixed/pump 3/{i}.wav", i)
        write_clip(tmp_path / f"mixed/faults/{i}.wav", 20 + i)
        write_clip(tmp_path / f"bad/broken/{i}.wav", 20 + i)
    assert len(clips_of_files(tmp_path / "all", "pump", Split.TRAIN)) == 6  # nothing is called faulty
    with pytest.raises(AsdError, match=r"pump 3/0\.wav lies in no folder that says whether it is normal"):
        clips_of_files(tmp_path / "mixed", "pump", Split.TRAIN)
    with pytest.raises(AsdError, match="bad holds recordings of faults and no normal ones"):
        clips_of_files(tmp_path / "bad", "pump", Split.TRAIN)
    assert len(clips_of_files(tmp_path / "mixed", "pump", Split.TEST)) == 6  # scored is what there is


@pytest.mark.parametrize("channel", [1, "mean"])
def test_a_channel_is_chosen_of_arrays_and_of_files(tmp_path: Path, channel: Any) -> None:
    rng = np.random.default_rng(0)
    normal = rng.normal(0, 0.1, (12, 2, RATE)).astype(np.float32)
    chosen = normal.mean(1) if channel == "mean" else normal[:, 1]
    alone = asd.fit(chosen, RATE, options=ONE_VIEW)
    of_arrays = asd.fit(normal, RATE, channel=channel, options=ONE_VIEW)
    assert of_arrays.score(normal[3], RATE).score == pytest.approx(alone.score(chosen[3], RATE).score)
    for i, pair in enumerate(normal):
        soundfile.write(tmp_path / f"{i:02d}.wav", pair.T, RATE, subtype="FLOAT")
    of_files = asd.fit(tmp_path, channel=channel, options=ONE_VIEW)
    assert of_files.score_files(tmp_path)["score"][3] == pytest.approx(alone.score(chosen[3], RATE).score, rel=1e-4)
    with pytest.raises(AsdError, match="channels 0 to 1 and channel=5 is asked for"):
        asd.fit(normal, RATE, channel=5)
    with pytest.raises(AsdError, match="channel=1 takes one channel, and frontend=mean"):
        asd.fit(normal, RATE, channel=1, options={"frontend": "mean"})


def test_recordings_of_no_section_that_was_learnt_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        f"{write_clip(Path(f'{unit}{i}.wav'), i, tone_hz=tone_hz)},{unit},normal"
        for i in range(6)
        for unit, tone_hz in (("A", 300.0), ("B", 700.0))
    ]
    Path("list.csv").write_text("\n".join(["path,section,label", *rows]))
    model = asd.fit("list.csv", options={"views": ["level"]})
    with caplog.at_level("WARNING", logger="asd"):
        model.score_files("A0.wav")
        waveform, rate_hz = soundfile.read("A0.wav")
        model.score(waveform, rate_hz)
    assert caplog.text.count("1 of 1 recordings are of section 00, and the model was trained on A, B") == 1
    with caplog.at_level("WARNING", logger="asd"):
        caplog.clear()
        again = asd.load(model.save("runs/units"))
        again.score(waveform, rate_hz, section="A")
        assert again.sections == ("A", "B")
    assert caplog.text == ""
