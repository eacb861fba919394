"""A sound card that vanishes and returns, a folder where recordings arrive: nothing is lost, nothing comes twice."""

from __future__ import annotations

import io
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from asd.data.audio import Sound, read_sound
from asd.data.codecs import encode
from asd.deploy import folder, sources
from asd.deploy.folder import Folder
from asd.deploy.sources import Device, Take, source_of
from asd.deploy.stream import Piece
from asd.types import AsdError
from tests.machines import write_clip

BLOCK = 1600


class Card:
    """A sound card for tests: counts up in blocks, until somebody pulls it out."""

    def __init__(self) -> None:
        self.is_in, self.n_opened, self.next = True, 0, 0
        self.silent = False

    def open(self, take: Take) -> Card.Opened:
        if not self.is_in:
            raise OSError("no such card")
        self.n_opened += 1
        return Card.Opened(self, take)

    class Opened:
        def __init__(self, card: Card, take: Take) -> None:
            self.card, self.take, self.is_open = card, take, True
            self.thread = threading.Thread(target=self.run, daemon=True)
            self.thread.start()

        def run(self) -> None:
            while self.is_open and self.card.is_in:
                if not self.card.silent:
                    start = self.card.next
                    self.card.next += BLOCK
                    self.take(np.arange(start, start + BLOCK, dtype=np.float32)[None], False)
                time.sleep(0.002)

        @property
        def active(self) -> bool:
            return self.is_open and self.card.is_in

        def close(self) -> None:
            self.is_open = False


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in a folder at the beginning is taken for whole."""
    monkeypatch.setattr(folder, "_QUIET_S", 0.0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_AGAIN_S", 0.01)


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "GSM610", "IMA_ADPCM", "MS_ADPCM", "PCM_U8", "PCM_24", "DOUBLE"])
def test_a_wav_file_of_any_coding_is_heard_as_predict_reads_it(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 16000), 16000, subtype=subtype)
    heard = np.concatenate([piece.samples for piece in source_of(str(path), 16000)], axis=1)
    np.testing.assert_array_equal(heard, read_sound(path).waveform(1))


def take(pieces: Iterator[Piece], n: int) -> list[Piece]:
    return [piece for _, piece in zip(range(n), pieces, strict=False)]


@pytest.mark.usefixtures("quick")
def test_a_device_that_vanishes_and_returns_leaves_a_gap_that_is_said_and_no_other() -> None:
    card = Card()
    pieces = Device("card", 16000, card.open).pieces()
    before = take(pieces, 20)
    card.is_in = False
    time.sleep(0.05)
    threading.Timer(0.2, lambda: setattr(card, "is_in", True)).start()
    after = take(pieces, 200)
    assert card.n_opened == 2
    every = [*before, *after]
    heard = np.concatenate([piece.samples[0] for piece in every])
    np.testing.assert_array_equal(heard, np.arange(len(heard)))  # the card counts only what it records
    (said,) = (piece for piece in every if piece.problem and not piece.is_new)
    assert "card has gone" in said.problem  # at once, and not only when it is back
    gaps = [piece for piece in every if piece.is_new]
    assert len(gaps) == 1
    assert "card has gone" in gaps[0].problem
    assert gaps[0].lost_s > 0.1


@pytest.mark.usefixtures("quick")
def test_a_device_that_hangs_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_SILENT_S", 0.1)
    card = Card()
    pieces = Device("card", 16000, card.open).pieces()
    take(pieces, 5)
    card.silent = True
    threading.Timer(0.3, lambda: setattr(card, "silent", False)).start()
    assert any(piece.is_new for piece in take(pieces, 200))
    assert card.n_opened > 1


def test_what_a_slow_computer_cannot_keep_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_QUEUED_S", 0.5)  # five blocks
    card = Card()
    pieces = Device("card", 16000, card.open).pieces()
    next(pieces)
    start = card.next
    while card.next < start + 20 * BLOCK:
        time.sleep(0.01)
    found = take(pieces, 15)
    heard = np.concatenate([piece.samples[0] for piece in found])
    jumps = np.flatnonzero(np.diff(heard) != 1) + 1
    assert len(jumps) >= 1
    starts = np.cumsum([0, *[piece.samples.shape[1] for piece in found]])
    marked = [start for start, piece in zip(starts, found, strict=False) if piece.is_new]
    assert set(jumps.tolist()) <= set(marked)
    assert all("too slow" in piece.problem for piece in found if piece.is_new)


def test_what_a_slow_computer_cannot_keep_is_counted_by_the_clock_of_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, takes = [0.0], list[Take]()
    monkeypatch.setattr(sources, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    monkeypatch.setattr(sources, "_QUEUED_S", 0.5)  # five blocks
    pieces = Device("card", 16000, lambda give: takes.append(give) or SimpleNamespace(active=True)).pieces()

    def record(n_blocks: int) -> None:
        for _ in range(n_blocks):
            now_s[0] += 0.1
            takes[0](np.zeros((1, BLOCK), np.float32), False)

    record(20)  # while one window is scored
    assert [piece.lost_s for piece in take(pieces, 5)] == [0.0] * 5
    record(1)
    (late,) = take(pieces, 1)
    assert late.lost_s == pytest.approx(1.5)


def test_a_card_that_is_not_there_is_one_sentence_with_those_that_are() -> None:
    pytest.importorskip("sounddevice")
    with pytest.raises(AsdError, match=r"no file, no folder and no sound card.*sound cards here"):
        source_of("no-such-card", 16000)


class OneBuffer:
    """In place of the library `sounddevice`: a card of one rate, which gives all blocks in the same memory."""

    class PortAudioError(Exception): ...

    def __init__(self, rate_hz: int, n_channels: int) -> None:
        self.rate_hz, self.buffer = rate_hz, np.empty((rate_hz // 10, n_channels), np.float32)

    def _terminate(self) -> None: ...

    _initialize = _terminate

    def query_devices(self, device: str, kind: str) -> dict[str, float]:
        assert (device, kind) == ("card", "input")
        return {"default_samplerate": float(self.rate_hz)}

    def InputStream(self, *, samplerate: int, blocksize: int, callback: Any, **_: Any) -> SimpleNamespace:  # noqa: N802
        if samplerate != self.rate_hz:
            raise self.PortAudioError("Invalid sample rate")
        assert blocksize == len(self.buffer)
        self.callback = callback
        return SimpleNamespace(start=lambda: None, active=True, close=lambda: None)

    def record(self, samples: np.ndarray) -> None:
        for block in samples.reshape(-1, *self.buffer.shape):
            self.buffer[:] = block
            self.callback(self.buffer, len(block), None, SimpleNamespace(input_overflow=False))


@pytest.mark.parametrize(("rate_hz", "n_channels"), [(16000, 1), (16000, 2), (48000, 1), (44100, 2)])
def test_a_card_of_one_rate_is_resampled_and_its_buffer_is_copied(
    rate_hz: int, n_channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = OneBuffer(rate_hz, n_channels)
    monkeypatch.setitem(sys.modules, "sounddevice", card)  # type: ignore[arg-type]
    told: list[Sound] = []
    pieces = source_of("card", 16000, n_channels=n_channels, tell=told.append)
    assert [(sound.file_rate_hz, sound.sample_rate_hz, sound.n_channels) for sound in told] == [
        (rate_hz, 16000, n_channels)
    ]
    recorded = np.random.default_rng(0).normal(0, 0.1, (rate_hz, n_channels)).astype(np.float32)
    card.record(recorded)
    found = np.concatenate([piece.samples for piece in take(pieces, 10)], axis=1)
    expected = recorded if rate_hz == 16000 else soxr.resample(recorded, rate_hz, 16000)
    np.testing.assert_array_equal(found, expected.T[:, : found.shape[1]])
    assert found.shape[1] >= 15000  # the rest comes with the next block


def test_without_the_library_a_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AsdError, match=r"asd\[stream\]"):
        source_of("hw:1", 16000)


def names(pieces: list[Piece]) -> list[str]:
    return [piece.recording for piece in pieces]


def test_a_folder_gives_what_is_there_and_what_arrives_once_each(tmp_path: Path) -> None:
    place, aside = tmp_path / "in", tmp_path / "aside"
    for i, name in enumerate(("b.wav", "a.wav")):
        write_clip(place / name, i, 0.1)
        time.sleep(0.01)
    pieces = Folder(place, 16000, tmp_path / "heard").pieces()
    assert names(take(pieces, 2)) == ["b.wav", "a.wav"]  # by time

    def arrive() -> None:
        write_clip(place / "written.wav", 3, 0.1)
        shutil.move(write_clip(aside / "moved.wav", 4, 0.1), place / "moved.wav")
        write_clip(place / ".hidden.wav", 5, 0.1).rename(place / "renamed.wav")
        (place / "notes.txt").write_text("no recording")
        (place / "sub").mkdir()
        write_clip(place / "sub/deeper.wav", 6, 0.1)
        (place / "broken.wav").write_bytes(b"RIFF....")
        write_clip(place / "last.wav", 7, 0.1)

    threading.Thread(target=arrive).start()
    found = take(pieces, 5)
    assert names(found) == ["written.wav", "moved.wav", "renamed.wav", "broken.wav", "last.wav"]
    assert [bool(piece.problem) for piece in found] == [False, False, False, True, False]
    assert all(piece.is_new for piece in found)
    pieces.close()
    write_clip(place / "while_away.wav", 8, 0.1)
    again = Folder(place, 16000, tmp_path / "heard").pieces()
    assert names(take(again, 2)) == ["last.wav", "while_away.wav"]  # the one that was not known to be scored, too
    again.close()


def test_a_recording_that_is_moved_in_later_is_heard_after_a_restart_however_old_it_is(tmp_path: Path) -> None:
    place = tmp_path / "in"
    write_clip(place / "a.wav", 0, 0.1)
    pieces = Folder(place, 16000, tmp_path / "heard").pieces()
    take(pieces, 1)
    old = write_clip(tmp_path / "old.wav", 1, 0.1)
    os.utime(old, (0, 0))
    threading.Timer(0.1, lambda: old.rename(place / "old.wav")).start()
    assert names(take(pieces, 1)) == ["old.wav"]
    pieces.close()
    time.sleep(0.01)
    older = write_clip(tmp_path / "older.wav", 2, 0.1)
    os.utime(older, (0, 0))
    older.rename(place / "older.wav")
    again = Folder(place, 16000, tmp_path / "heard").pieces()
    assert names(take(again, 2)) == ["old.wav", "older.wav"]  # the last one was not known to be scored
    again.close()


def test_a_recording_of_any_name_is_remembered_and_one_that_goes_unread_changes_nothing(tmp_path: Path) -> None:
    place, mark = tmp_path / "in", tmp_path / "heard"
    wav = write_clip(place / "a.wav", 0, 0.1)
    wav.rename(odd := place / "b\n\udcff.wav")  # no UTF-8
    watched = Folder(place, 16000, mark)
    assert len(list(watched._read(odd))) == 1
    before = mark.read_bytes()
    (gone,) = watched._read(place / "part.wav")  # as where a recorder renames it at once
    assert gone.problem
    assert mark.read_bytes() == before
    assert not Folder(place, 16000, mark)._waiting()
    mark.write_bytes(before[:9] + b"\xff")
    assert [*Folder(place, 16000, mark)._waiting()] == [odd]  # of a mark that is damaged, what cannot be read


def test_no_clock_and_no_change_of_rights_hides_a_recording_or_brings_one_twice(tmp_path: Path) -> None:
    place, mark = tmp_path / "in", tmp_path / "heard"
    first = write_clip(place / "first.wav", 0, 0.1)
    os.utime(first, (2e9, 2e9))  # by a clock that was years ahead
    time.sleep(0.01)
    mark.write_text("")
    assert [piece.recording for piece in Folder(place, 16000, mark)._read(first)] == ["first.wav"]
    first.chmod(0o600)
    later = write_clip(place / "later.wav", 1, 0.1)
    os.utime(later, (1e9, 1e9))
    assert [*Folder(place, 16000, mark)._waiting()] == [later]
    write_clip(first, 2, 0.2)
    assert {*Folder(place, 16000, mark)._waiting()} == {later, first}  # another recording under an earlier name
    first.unlink()
    Folder(place, 16000, mark)._waiting()
    assert not mark.read_text()  # what has gone is forgotten


def test_a_recording_whose_last_event_comes_late_is_heard_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "in/a.wav", 0, 0.1)

    def watch(place: Path, begun: set[Path], take: Any) -> SimpleNamespace:
        take(path)  # it was there before, and is heard as such
        take(None)
        return SimpleNamespace(stop=lambda: None, join=lambda: None)

    monkeypatch.setattr(folder, "_watch", watch)
    assert names([*Folder(tmp_path / "in", 16000)._while_there()]) == ["a.wav"]


def test_a_folder_whose_disk_is_not_there_for_a_while_is_not_heard_twice(tmp_path: Path) -> None:
    place, mark = tmp_path / "in", tmp_path / "heard"
    first = write_clip(place / "first.wav", 0, 0.1)
    for _ in range(2):  # closed twice
        list(Folder(place, 16000, mark)._read(first))
    place.rename(tmp_path / "disk")
    place.mkdir()  # where it is mounted
    assert not Folder(place, 16000, mark)._waiting()
    place.rmdir()
    (tmp_path / "disk").rename(place)
    assert not Folder(place, 16000, mark)._waiting()
    assert len(mark.read_text().splitlines()) == 1


def test_a_recording_that_is_still_written_is_heard_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_QUIET_S", 3600.0)
    content = write_clip(tmp_path / "whole.wav", 0, 0.1).read_bytes()
    (tmp_path / "in").mkdir()
    with (tmp_path / "in/a.wav").open("wb") as file:
        file.write(content[:1000])
        file.flush()
        threading.Timer(0.3, lambda: (file.write(content[1000:]), file.close())).start()
        pieces = Folder(tmp_path / "in", 16000, tmp_path / "heard").pieces()
        (piece,) = take(pieces, 1)
    assert not piece.problem
    assert piece.samples.shape == (1, len(content[44:]) // 2)
    pieces.close()


def test_a_recorder_that_waits_for_a_sound_with_its_file_open_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_AGAIN_S", 0.1)
    monkeypatch.setattr(folder, "_LOOK_S", 0.02)
    content = write_clip(tmp_path / "whole.wav", 0, 0.1).read_bytes()
    (tmp_path / "in").mkdir()
    pieces = Folder(tmp_path / "in", 16000).pieces()

    def record() -> None:
        with (tmp_path / "in/a.wav").open("wb") as file:
            file.write(content[:44])
            file.flush()
            time.sleep(1.0)
            file.write(content[44:])

    threading.Timer(0.2, record).start()
    (piece,) = take(pieces, 1)
    pieces.close()
    assert not piece.problem


def test_what_nobody_told_of_is_heard_when_it_no_longer_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As what another computer writes into a shared folder, or thousands at once, of which the system drops some."""
    monkeypatch.setattr(folder, "_QUIET_S", 0.3)
    monkeypatch.setattr(folder, "_AGAIN_S", 0.3)
    monkeypatch.setattr(folder, "_LOOK_S", 0.05)
    watch = folder._watch
    monkeypatch.setattr(folder, "_watch", lambda place, begun, take: watch(place, set(), lambda arrival: None))
    place, mark = tmp_path / "in", tmp_path / "heard"
    place.mkdir()
    pieces, grows = Folder(place, 16000, mark).pieces(), tmp_path / "in/b.wav"

    def arrive() -> None:
        write_clip(place / "a.wav", 0, 0.1)
        content = write_clip(tmp_path / "whole.wav", 1, 0.1).read_bytes()
        for n_bytes in range(1000, len(content) + 1000, 400):  # for longer than two looks
            grows.write_bytes(content[:n_bytes])
            time.sleep(0.1)

    thread = threading.Thread(target=arrive)
    thread.start()
    found = take(pieces, 2)
    thread.join()
    assert names(found) == ["a.wav", "b.wav"]
    assert [piece.samples.shape for piece in found] == [(1, 1600), (1, 1600)]
    (place / "a.wav").unlink()
    threading.Timer(0.6, lambda: write_clip(place / "c.wav", 0, 0.1)).start()
    assert names(take(pieces, 1)) == ["c.wav"]
    pieces.close()
    assert {line.split('"')[1] for line in mark.read_text().splitlines()} == {"b.wav"}  # what has gone is forgotten


def test_a_folder_that_cannot_be_looked_into_for_a_while_is_not_heard_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(folder, "_AGAIN_S", 0.0)
    monkeypatch.setattr(folder, "_LOOK_S", 0.02)
    place = tmp_path / "in"
    write_clip(place / "a.wav", 0, 0.1)
    pieces = Folder(place, 16000).pieces()
    take(pieces, 1)
    scandir, until_s = os.scandir, time.monotonic() + 0.5

    def stale(where: os.PathLike[str] | str) -> object:
        if time.monotonic() < until_s:
            raise OSError(116, "Stale file handle", str(where))
        return scandir(where)

    monkeypatch.setattr(os, "scandir", stale)
    threading.Timer(1.0, lambda: write_clip(place / "b.wav", 1, 0.1)).start()
    assert names(take(pieces, 1)) == ["b.wav"]
    pieces.close()
    assert "in cannot be looked into" in caplog.text
    assert "Stale file handle" in caplog.text


def test_a_folder_whose_server_is_away_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_LOOK_S", 0.02)
    place = tmp_path / "in"
    write_clip(place / "a.wav", 0, 0.1)
    pieces = Folder(place, 16000).pieces()
    take(pieces, 1)
    stat, until_s = Path.stat, time.monotonic() + 0.3

    def stale(path: Path, **options: bool) -> os.stat_result:
        if path == place and time.monotonic() < until_s:
            raise OSError(116, "Stale file handle", str(place))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", stale)
    assert "in has gone" in next(pieces).problem
    threading.Timer(0.5, lambda: write_clip(place / "b.wav", 1, 0.1)).start()
    assert "b.wav" in (piece.recording for piece in pieces)
    pieces.close()


def test_recordings_of_one_moment_are_heard_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = folder._State.of
    monkeypatch.setattr(folder._State, "of", lambda path: replace(of(path), stamp=7))
    for name in ("a", "b", "c"):
        write_clip(tmp_path / f"in/{name}.wav", 0, 0.1)
    watched = Folder(tmp_path / "in", 16000, tmp_path / "heard")
    for name in ("c", "a"):
        list(watched._read(tmp_path / f"in/{name}.wav"))
    assert [path.name for path in Folder(tmp_path / "in", 16000, tmp_path / "heard")._waiting()] == ["b.wav"]


def test_a_folder_that_goes_and_comes_back_is_heard_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_LOOK_S", 0.02)
    place = tmp_path / "in"
    write_clip(place / "a.wav", 0, 0.1)
    pieces = Folder(place, 16000, tmp_path / "heard").pieces()
    take(pieces, 1)
    for gone in (lambda: shutil.rmtree(place), lambda: place.rename(tmp_path / "old")):
        gone()
        assert "in has gone" in next(pieces).problem
        threading.Timer(0.1, lambda: write_clip(place / "b.wav", 1, 0.1)).start()
        assert next(pieces).recording == "b.wav"
    pieces.close()


def test_a_recording_that_cannot_be_remembered_is_heard_all_the_same(tmp_path: Path) -> None:
    write_clip(tmp_path / "in/a.wav", 0, 0.1)
    write_clip(tmp_path / "in/b.wav", 1, 0.1)
    mark = tmp_path / "full"
    mark.mkdir()  # cannot be written as a file
    watched = Folder(tmp_path / "in", 16000)
    watched.mark = mark
    assert [piece.recording for name in ("a", "b") for piece in watched._read(tmp_path / f"in/{name}.wav")] == [
        "a.wav",
        "b.wav",
    ]


def test_recordings_of_another_rate_or_kind_are_read_as_predict_reads_them(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "in/a.wav", 1, 0.1)
    expected = read_sound(path, sample_rate_hz=8000).waveform(1)
    (tmp_path / "b.flac").write_bytes(encode(read_sound(path).waveform(1), 16000, "flac"))
    pieces = Folder(tmp_path / "in", 8000).pieces()
    (piece,) = take(pieces, 1)
    pieces.close()
    np.testing.assert_array_equal(piece.samples, expected)
    for given in (path, tmp_path / "b.flac"):
        found = np.concatenate([piece.samples for piece in source_of(str(given), 8000)], axis=1)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("is_wav", [True, False])
def test_a_named_pipe_is_read_as_standard_input_is(tmp_path: Path, is_wav: bool) -> None:
    content = write_clip(tmp_path / "a.wav", 1, 0.2).read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=lambda: pipe.write_bytes(content[0 if is_wav else 44 :])).start()
    heard = np.concatenate([piece.samples for piece in source_of(str(pipe), 16000)], axis=1)
    np.testing.assert_array_equal(heard, read_sound(tmp_path / "a.wav").waveform(1))


def test_recordings_in_folders_below_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watched = Folder(tmp_path / "in", 16000)
    write_clip(tmp_path / "in/a.wav", 1, 0.1)
    assert [path.name for path in watched._waiting()] == ["a.wav"]
    assert "are not scored" not in caplog.text
    write_clip(tmp_path / "in/2026/03/b.wav", 1, 0.1)  # as when a recorder begins a folder for each day
    for _ in range(2):
        assert [path.name for path in watched._waiting()] == ["a.wav"]
    assert caplog.text.count("are not scored") == 1
    assert "in are not scored; name the folder where they arrive" in caplog.text


def test_a_folder_below_that_goes_while_it_is_looked_into_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "in/a.wav", 1, 0.1)
    (tmp_path / "in/part").mkdir()
    scandir = os.scandir

    def gone(place: os.PathLike[str] | str) -> object:
        if os.path.basename(os.fspath(place)) == "part":
            raise FileNotFoundError(2, "No such file or directory", place)
        return scandir(place)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", gone)
        assert names(take(Folder(tmp_path / "in", 16000).pieces(), 1)) == ["a.wav"]


def test_a_file_that_is_no_sound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("these are no samples")
    with pytest.raises(AsdError, match=r"a\.wav"):
        list(source_of(str(tmp_path / "a.wav"), 16000))


@pytest.mark.parametrize("kind", ["WAV", "RF64"])
@pytest.mark.parametrize("rate_hz", [48000, 44100, 11025, 16000])
def test_a_stream_of_any_rate_is_that_of_the_whole_recording_and_comes_block_by_block(
    tmp_path: Path, rate_hz: int, kind: str
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (int(1.2 * rate_hz), 2))
    soundfile.write(tmp_path / "a.wav", noise, rate_hz, format=kind, subtype="PCM_16")
    pieces = source_of(str(tmp_path / "a.wav"), 16000)
    first = next(pieces)
    assert first.samples.shape[1] <= 1600  # 0.1 s, and no more of the file
    found = np.concatenate([first.samples, *(piece.samples for piece in pieces)], axis=1)
    np.testing.assert_array_equal(found, read_sound(tmp_path / "a.wav", 2, sample_rate_hz=16000).waveform(2))


def test_standard_input_that_is_raw_has_the_rate_of_the_model_and_a_terminal_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    content = write_clip(tmp_path / "a.wav", 1, 0.1).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content[44:])))  # raw samples tell no rate
    with caplog.at_level("INFO", "asd"):
        source_of("-", 8000, n_channels=2)
    assert "read as raw samples: format=s16le channels=2 at 8000 Hz" in caplog.text
    terminal = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", terminal)
    with pytest.raises(AsdError, match="terminal"):
        source_of("-", 16000)
