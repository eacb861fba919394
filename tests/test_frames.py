from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.data import audio
from asd.data.recordings import in_memory
from asd.features.frames import Frames, Windows, log_mel_frames
from asd.features.logmel import LogMel
from asd.types import AsdError
from tests.machines import recordings, tone_machine

SETTINGS = {"n_fft": 1024, "hop_samples": 512, "n_mels": 32}
CPU = torch.device("cpu")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    return tone_machine(tmp_path / "data", n_train=6, n_target=2, n_test=1)


@pytest.mark.parametrize(("exact", "error_db"), [(True, 0.0), (False, 0.5 / 200 + 1e-4)])
def test_cached_frames_are_the_features(machine: Path, tmp_path: Path, exact: bool, error_db: float) -> None:
    clips = recordings(machine)
    frames = log_mel_frames(clips, SETTINGS, tmp_path / "cache", CPU, exact=exact)
    transform = LogMel(16000, **SETTINGS)
    expected = [transform(torch.from_numpy(clips.waveform(i))[None])[0].T for i in range(len(clips))]
    assert frames.lengths.tolist() == [len(e) for e in expected]
    assert (frames.to(CPU) - torch.cat(expected)).abs().max() <= error_db + 1e-4 * exact
    assert isinstance(frames.levels, np.memmap)


def test_the_cache_is_reused_and_keyed_by_everything(machine: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = log_mel_frames(recordings(machine), SETTINGS, cache, CPU)
    assert log_mel_frames(recordings(machine), SETTINGS, cache, CPU).levels.filename == first.levels.filename
    others = [
        log_mel_frames(recordings(machine), SETTINGS | {"n_mels": 16}, cache, CPU),
        log_mel_frames(recordings(machine), SETTINGS, cache, CPU, exact=True),
    ]
    shutil.copytree(machine / "fan", tmp_path / "moved/fan")
    moved = log_mel_frames(recordings(tmp_path / "moved"), SETTINGS, cache, CPU)
    assert moved.levels.filename == first.levels.filename
    clip = recordings(machine).clips[0].path
    facts, content = clip.stat(), bytearray(clip.read_bytes())
    content[-1] ^= 1
    clip.write_bytes(content)
    os.utime(clip, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # same name, size and time of change
    others.append(log_mel_frames(recordings(machine), SETTINGS, cache, CPU))
    assert len({str(f.levels.filename) for f in [first, *others]}) == 4


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("level", [np.nan, np.inf, 1e30])
def test_levels_that_cannot_be_kept_are_refused_by_the_name_of_their_clip(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: float, exact: bool
) -> None:
    clips = recordings(machine)
    forward = LogMel.forward

    def broken(self: LogMel, waveforms: torch.Tensor) -> torch.Tensor:
        levels = forward(self, waveforms)
        levels[1, 3, 2] = level
        return levels

    monkeypatch.setattr(LogMel, "forward", broken)
    if exact and level == 1e30:
        log_mel_frames(clips, SETTINGS, tmp_path / "cache", CPU, exact=True)
        return
    second = next(clips.batches())[0][1]
    with pytest.raises(AsdError, match=f"{clips.clips[second].name} has levels beyond"):
        log_mel_frames(clips, SETTINGS, tmp_path / "cache", CPU, exact=exact)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(("name", "damage"), [("levels", b"nonsense"), ("lengths", b""), ("lengths", None)])
def test_a_damaged_cache_is_named_and_made_anew(
    machine: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: bytes | None
) -> None:
    frames = log_mel_frames(recordings(machine), SETTINGS, tmp_path / "cache", CPU)
    wanted, path = frames.to(CPU), Path(str(frames.levels.filename)).with_name(f"{name}.npy")
    if damage is None:
        np.save(path, frames.lengths[1:])
    else:
        path.write_bytes(damage)
    again = log_mel_frames(recordings(machine), SETTINGS, tmp_path / "cache", CPU)
    assert torch.equal(again.to(CPU), wanted)
    assert f"{path.parent} is damaged" in caplog.text
    assert "computed once more" in caplog.text


def test_recordings_in_memory_fill_no_cache(machine: Path, tmp_path: Path) -> None:
    clips = recordings(machine)
    same = in_memory([clips.waveform(i) for i in range(len(clips))], 16000)
    for exact in (True, False):
        stored = log_mel_frames(clips, SETTINGS, tmp_path / "cache", CPU, exact=exact)
        found = log_mel_frames(same, SETTINGS, tmp_path / "nowhere", CPU, exact=exact)
        assert torch.equal(found.to(CPU), stored.to(CPU))
        assert found.lengths.tolist() == stored.lengths.tolist()
    assert not (tmp_path / "nowhere").exists()


def test_an_interrupted_computation_leaves_nothing(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "KEPT_BYTES", 0)  # every file is read again
    clips = recordings(machine)
    clips.clips[-1].path.write_bytes(b"gone bad after the check")
    with pytest.raises(AsdError, match="not a readable WAV"):
        log_mel_frames(clips, SETTINGS, tmp_path / "cache", CPU)
    assert list((tmp_path / "cache").iterdir()) == []


def test_windows_are_runs_of_frames_within_a_clip() -> None:
    lengths = np.array([3, 5, 4])
    levels = np.arange(12 * 2, dtype=np.float32).reshape(12, 2)
    windows = Windows(Frames(levels, lengths), 3, CPU)
    starts = [0, 3, 4, 5, 8, 9]  # first frames of all windows that stay within their clip
    expected = torch.from_numpy(np.stack([levels[s : s + 3].ravel() for s in starts]))
    torch.testing.assert_close(windows[torch.arange(len(windows))], expected)
    assert windows.clip_of.tolist() == [0, 1, 1, 1, 2, 2]
    for size in (1, 2, 4, 100):
        chunks = list(windows.chunks(size))
        torch.testing.assert_close(torch.cat([rows for rows, _ in chunks]), expected)
        assert torch.cat([n for _, n in chunks]).tolist() == [1, 3, 2]
