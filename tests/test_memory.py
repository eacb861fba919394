"""Where memory is short: a recording that does not fit is refused before it is read, and errors are sentences."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

import asd.__main__
from asd.core import memory
from asd.core.memory import free_bytes, ran_out
from asd.data import audio, codecs
from asd.data.audio import read_sound, resampled
from asd.places import mirrored
from asd.types import AsdError
from tests.command import asd as command
from tests.machines import write_clip


@pytest.mark.parametrize("name", ["long.wav", "long.flac"])
def test_a_recording_that_does_not_fit_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 160_000), 16000, subtype="PCM_16")
    n_bytes = path.stat().st_size + 3 * 160_000
    monkeypatch.setattr(codecs, "_LARGE_BYTES", 1)
    monkeypatch.setattr(memory, "free_bytes", lambda: n_bytes)
    assert read_sound(path).n_samples == 160_000
    monkeypatch.setattr(memory, "free_bytes", lambda: n_bytes - 1)
    monkeypatch.setattr(codecs, "read_bytes", lambda path: pytest.fail("it was read"))
    with pytest.raises(
        AsdError, match=rf"{name} lasts 0.00278 h and takes 0.000\d+ GB of memory, where .* cut it into"
    ):
        read_sound(path)


def test_flac_from_a_pipe_tells_no_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "piped.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16_000), 16000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[21:26] = content[21] & 0xF0, 0, 0, 0, 0
    path.write_bytes(content)
    monkeypatch.setattr(codecs, "_LARGE_BYTES", 1)
    assert read_sound(path).n_samples == 16_000
    monkeypatch.setattr(memory, "free_bytes", lambda: len(content) - 1)
    with pytest.raises(AsdError, match=r"piped\.flac lasts"):
        read_sound(path)


def test_what_control_groups_and_ulimit_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = tmp_path / "a/b"
    group.mkdir(parents=True)
    (tmp_path / "a/memory.max").write_text("5000\n")
    (tmp_path / "a/memory.current").write_text("4500\n")
    (tmp_path / "a/memory.stat").write_text("anon 3\ninactive_file 200\nactive_file 50\nactive_anon 7\n")
    (group / "memory.max").write_text("max\n")
    texts = {
        "/proc/self/cgroup": "4:memory:/x\n0::/a/b\n",
        "/proc/meminfo": "MemAvailable:   9000 kB\nSwapFree:  1 kB\n",
    }
    read = memory._text
    monkeypatch.setattr(memory, "_text", lambda file: texts.get(str(file), "") or read(file))
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    assert free_bytes() == 750 + 1024  # with the files in memory, which Linux gives back, and swap
    (tmp_path / "a/memory.swap.max").write_text("300\n")
    (tmp_path / "a/memory.swap.current").write_text("100\n")
    assert free_bytes() == 750 + 200
    monkeypatch.setattr(memory, "_groups", lambda: [])
    assert free_bytes() == 9001 * 1024
    texts["/proc/self/status"] = "VmSize:\t     100 kB\n"
    monkeypatch.setattr(memory.resource, "getrlimit", lambda what: (110 * 1024, 0))
    assert free_bytes() == 10 * 1024


@pytest.mark.parametrize(
    ("error", "is_of_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_the_command_says_that_memory_ran_out(
    monkeypatch: pytest.MonkeyPatch, error: Exception, is_of_memory: bool
) -> None:
    def fails(*words: object) -> tuple[str, int]:
        raise error

    assert ran_out(error) == is_of_memory
    monkeypatch.setattr(asd.__main__, "_run", fails)
    if not is_of_memory:
        with pytest.raises(type(error)):
            command("train")
        return
    answer = command("train")
    assert answer.code == 2
    assert "memory ran out; free some" in answer.err
    assert answer.err.count("\n") == 1


def test_a_long_path_is_named_to_its_end_and_as_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*words: object) -> tuple[str, int]:
        raise PermissionError(13, "Permission denied", str(mirrored(f"s3://bucket/{'long/' * 60}end.wav")))

    monkeypatch.setattr(asd.__main__, "_run", fails)
    assert re.search(r"'s3://bucket/(long/){60}end.wav'; check the place", command("train").err)


@pytest.mark.parametrize(("rate_hz", "wanted_hz"), [(48000, 16000), (44100, 16000), (8000, 16000)])
def test_a_recording_is_resampled_in_blocks_to_the_digits_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, rate_hz: int, wanted_hz: int
) -> None:
    samples = np.random.default_rng(0).integers(-9999, 9999, (2, 30_001)).astype(np.int16)
    monkeypatch.setattr(audio, "_BLOCK", 4096)
    expected = soxr.resample((samples.T / 32768).astype(np.float32), rate_hz, wanted_hz)
    assert np.array_equal(resampled(samples, rate_hz, wanted_hz), expected.T)


def test_a_clip_is_not_asked_for_its_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 0)
    assert read_sound(write_clip(tmp_path / "a.wav", 0)).n_samples == 16000
