"""A data folder as tensors: padding, what is known of which clip, and the scale of all networks' inputs."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.data.codecs import write_wav
from asd.sed.config import Features, Train
from asd.sed.dataset import (
    TRAIN_PARTS,
    MelStandardizer,
    find_classes,
    list_wavs,
    read_corpus,
    read_part,
    to_device,
    train_parts,
)  # fmt: skip
from asd.types import AsdError

RATE_HZ, CLASSES = 4000, ["hiss", "tone"]
CPU = torch.device("cpu")


FEATURES = Features(sample_rate_hz=RATE_HZ, n_fft=256, hop_samples=200, n_mels=8)


def write(folder: Path, name: str, seconds: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(name) + int(10 * seconds))
    write_wav(folder / name, 0.1 * rng.normal(size=(1, int(RATE_HZ * seconds))).astype(np.float32), RATE_HZ)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One clip of each kind, of three lengths."""
    for part, seconds in (("strong", 1.0), ("soft", 1.5), ("weak", 1.0), ("unlabelled", 2.0)):
        write(tmp_path / f"train_{part}", f"{part}.wav", seconds)
    header = "filename\tonset\toffset\tevent_label"
    (tmp_path / "train_strong.tsv").write_text(f"{header}\nstrong.wav\t0.2\t0.5\ttone\n")
    (tmp_path / "train_soft.tsv").write_text(f"{header}\tvalue\nsoft.wav\t0\t1\thiss\t0.25\n")
    (tmp_path / "train_weak.tsv").write_text("filename\tevent_labels\nweak.wav\ttone,hiss\n")
    return tmp_path


def test_what_is_known_of_each_clip(data: Path) -> None:
    assert find_classes(data) == CLASSES
    parts = [read_part(data, f"train_{name}", CLASSES, RATE_HZ) for name in ("strong", "soft", "weak", "unlabelled")]
    clips = to_device(parts, CLASSES, FEATURES, CPU)
    assert clips.log_mel.shape == (4, 41, 8)
    assert clips.frames_known.tolist() == [True, True, False, False]
    assert clips.clips_known.tolist() == [True, True, True, False]
    assert clips.clip_targets.tolist() == [[0, 1], [0.25, 0], [1, 1], [0, 0]]
    assert (~clips.padding).sum(1).tolist() == [21, 31, 21, 41]
    assert clips.frame_targets[0, :, 1].nonzero().flatten().tolist() == list(range(4, 10))
    assert clips.frame_targets[1, :, 0].unique().tolist() == [0, 0.25]
    assert clips.frame_targets[2:].sum() == 0


def test_features_are_those_of_each_clip_alone_and_padding_is_zero_on_the_scale(data: Path) -> None:
    parts = [read_part(data, f"train_{name}", CLASSES, RATE_HZ) for name in ("strong", "unlabelled")]
    clips = to_device(parts, CLASSES, FEATURES, CPU)
    alone = to_device(parts[:1], CLASSES, FEATURES, CPU)
    torch.testing.assert_close(clips.log_mel[:1, :21], alone.log_mel)
    scaled = MelStandardizer.of(clips)(clips)
    assert (scaled.log_mel[scaled.padding] == 0).all()
    heard = scaled.log_mel[~scaled.padding]
    torch.testing.assert_close(heard.mean(0), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(heard.std(0), torch.ones(8), atol=1e-4, rtol=0)
    assert torch.equal(scaled.frame_targets, clips.frame_targets)


def test_a_folder_without_recordings_or_labels_is_told(tmp_path: Path) -> None:
    write(tmp_path / "one_name", "a.wav", 0.5)
    (tmp_path / "one_name/a.WAV").write_bytes((tmp_path / "one_name/a.wav").read_bytes())
    with pytest.raises(AsdError, match=r"one_name holds a.WAV and a.wav, which tables cannot tell apart; rename one"):
        list_wavs(tmp_path / "one_name", RATE_HZ)
    with pytest.raises(AsdError, match=r"is not a folder; give one of recordings"):
        list_wavs(tmp_path / "test", RATE_HZ)
    with pytest.raises(AsdError, match=r"has no labelled training clips: train_strong.tsv"):
        find_classes(tmp_path)


def test_a_data_folder_is_read_as_a_whole_wherever_it_lies(data: Path, tmp_path: Path) -> None:
    write(data / "validation", "v.wav", 1.0)
    table = data / "validation.tsv"
    table.write_text("filename\tonset\toffset\tevent_label\nv.wav\t0\t0.5\ttone\nv.wav\t0\t0.5\thiss\n")
    config = Train(data=data, features=FEATURES)
    corpus = read_corpus(config, CPU)
    assert (corpus.classes, [part.name for part in corpus.scored]) == (CLASSES, ["validation"])
    own = to_device([read_part(data, name, CLASSES, RATE_HZ) for name in train_parts(data)], CLASSES, FEATURES, CPU)
    assert torch.equal(corpus.clips.log_mel, MelStandardizer.of(own)(own).log_mel)
    moved = config.model_copy(update={"data": shutil.copytree(data, tmp_path / "moved")})
    assert read_corpus(moved, CPU).fingerprint == corpus.fingerprint
    with table.open("a") as file:
        file.write("v.wav\t0.6\t0.7\ttone\n")
    assert read_corpus(config, CPU).fingerprint != corpus.fingerprint
    table.write_text("filename\tonset\toffset\tevent_label\nv.wav\t0\t0.5\ttone\n")
    with pytest.raises(AsdError, match=r"the validation part .*hiss"):
        read_corpus(config, CPU)


def test_another_sample_rate_is_refused(data: Path) -> None:
    with pytest.raises(AsdError, match="is sampled at 4000 Hz, not 16000 Hz"):
        read_part(data, "train_strong", CLASSES, 16000)


def test_recordings_and_rows_that_differ_in_spelling_are_the_same(data: Path) -> None:
    (data / "train_unlabelled/unlabelled.wav").rename(data / "train_unlabelled/unlabelled.WAV")
    (data / "train_unlabelled/._unlabelled.WAV").write_bytes(b"no recording")
    assert read_part(data, "train_unlabelled", CLASSES, RATE_HZ).filenames == ["unlabelled.WAV"]
    header = "filename\tonset\toffset\tevent_label"
    rows = "train_strong\\strong.WAV\t0.2\t0.4\ttone\nstrong\t0.3\t0.5\ttone\ngone.wav\t0\t1\ttone\n"
    usual = read_part(data, "train_strong", CLASSES, RATE_HZ).events
    (data / "train_strong.tsv").write_text(f"{header}\n{rows}")
    part = read_part(data, "train_strong", CLASSES, RATE_HZ)
    assert part.events is not None
    assert usual is not None
    assert part.events.to_numpy().tolist() == usual.to_numpy().tolist() == [["strong.wav", 0.2, 0.5, "tone"]]
    (data / "train_weak.tsv").write_text("filename\tevent_labels\nx/weak.WAV\ttone\nweak\thiss\n")
    assert read_part(data, "train_weak", CLASSES, RATE_HZ).names == {"weak.wav": ["tone", "hiss"]}


@pytest.mark.parametrize("name", ["train_strong", "train_soft"])
def test_labels_that_reach_beyond_the_recording_end_with_it(data: Path, name: str) -> None:
    table = data / f"{name}.tsv"
    table.write_text(table.read_text().replace("0.5\ttone", "10\ttone").replace("1\thiss", "10.115\thiss"))
    part = read_part(data, name, CLASSES, RATE_HZ)
    assert part.events is not None
    assert part.events["offset"].tolist() == list(part.durations_s.values())


def test_a_training_part_of_another_name_is_not_left_out(data: Path) -> None:
    assert train_parts(data) == list(TRAIN_PARTS)
    (data / "train_weak").rename(data / "train_week")
    for read in (lambda: train_parts(data), lambda: read_part(data, "train_week", CLASSES, RATE_HZ)):
        with pytest.raises(AsdError, match=r"train_week is none of the training parts train_strong, train_soft"):
            read()


def test_tables_without_their_recordings_are_told(data: Path, tmp_path: Path) -> None:
    (data / "test.tsv").write_text("filename\tonset\toffset\tevent_label\n")
    with pytest.raises(AsdError, match=r"test.tsv labels clips of .*/test, which is no folder; .* or remove the table"):
        read_corpus(Train(data=data), CPU)
    (data / "test.tsv").unlink()
    (data / "train_soft").rename(tmp_path / "elsewhere")
    with pytest.raises(AsdError, match=r"train_soft.tsv labels clips of .*/train_soft, which is no folder; put them"):
        read_corpus(Train(data=data), CPU)
    for part in TRAIN_PARTS:
        (data / f"{part}.tsv").unlink(missing_ok=True)
        shutil.rmtree(data / part, ignore_errors=True)
    with pytest.raises(AsdError, match=r"has no folder train_strong or .* or train_unlabelled; put the training clips"):
        read_corpus(Train(data=data, classes=CLASSES), CPU)


def test_classes_with_commas_are_found_and_may_be_asked_for(data: Path) -> None:
    table = data / "train_strong.tsv"
    table.write_text(table.read_text().replace("tone", "tone, low"))
    (data / "train_weak.tsv").write_text("filename\tevent_labels\nweak.wav\ttone, low,hiss\n")
    assert find_classes(data) == ["hiss", "tone, low"]
    assert find_classes(data, ["tone", " low", "hiss"]) == ["tone, low", "hiss"]
    assert find_classes(data, ["hiss", "top"]) == ["hiss", "top"]


def test_recordings_without_a_sound_are_named(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_wav(data / "train_strong/strong.wav", np.full((1, RATE_HZ), 0.25, np.float32), RATE_HZ)
    read_part(data, "train_strong", CLASSES, RATE_HZ)
    assert (
        "strong.wav is silent (all samples are 0.25), and 1 of 1 recordings are broken: what is learnt" in caplog.text
    )


def test_labels_in_either_form_of_unicode_are_one_class(data: Path) -> None:
    for name, form in (("train_strong", "NFD"), ("train_soft", "NFC"), ("train_weak", "NFD")):
        table = data / f"{name}.tsv"
        text = table.read_text().replace("tone", "klöng").replace("hiss", "zïsch")
        table.write_text(unicodedata.normalize(form, text))  # type: ignore[arg-type]
    assert find_classes(data) == ["klöng", "zïsch"]
    assert read_part(data, "train_weak", ["klöng", "zïsch"], RATE_HZ).names == {"weak.wav": ["klöng", "zïsch"]}


def test_a_class_that_is_called_as_a_column_is_refused_before_training(data: Path) -> None:
    table = data / "train_strong.tsv"
    table.write_text(table.read_text().replace("tone", "onset"))
    with pytest.raises(AsdError, match="has the class onset, as a column of tables of scores is called; rename it"):
        read_corpus(Train(data=data, features=FEATURES), CPU)
