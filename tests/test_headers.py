"""Headers that do not tell how long a recording is, or what came of it before it was cut off."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from asd.data import headers
from asd.data.audio import read_sound, read_wav
from asd.data.codecs import decode, encode, promised_length
from asd.data.headers import behind_id3, with_its_length
from asd.types import AsdError
from tests.machines import write_media

RATE_HZ = 16000


def noise(seconds: float = 2.0, rate_hz: int = RATE_HZ, *, grows: bool = False) -> np.ndarray[Any, Any]:
    """Noise; where it grows, a codec of variable rate takes few bytes for its first half and many for the second."""
    n = round(seconds * rate_hz)
    wave = np.random.default_rng(0).normal(0, 0.1, n)
    return np.round(wave * (np.where(np.arange(n) < n / 2, 0.001, 1.0) if grows else 1.0) * 32768) / 32768


def written(wave: np.ndarray[Any, Any], kind: str, subtype: str, rate_hz: int = RATE_HZ, **more: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, rate_hz, format=kind, subtype=subtype, **more)
    return file.getvalue()


def patched(content: bytes, at: int, more: bytes) -> bytes:
    return content[:at] + more + content[at + len(more) :]


def without_flac_length(content: bytes) -> bytes:
    return patched(content, 21, bytes([content[21] & 0xF0, 0, 0, 0, 0]))


def test_what_holds_no_samples_is_empty_whatever_else_its_header_says(tmp_path: Path) -> None:
    wav, aiff = written(np.zeros(0), "WAV", "PCM_24"), written(np.zeros(0), "AIFF", "PCM_16")
    contents = {
        "contradiction.wav": patched(wav, 32, struct.pack("<H", 2)),  # bytes of a sample
        "more.aiff": aiff + b"\5" * 64,
        "steps.aiff": written(np.zeros(0), "AIFF", "DWVW_12"),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AsdError, match=f"{name} holds no samples; remove it or copy it again"):
            read_wav(tmp_path / name)


def test_what_was_streamed_is_read_whole(tmp_path: Path) -> None:
    wave = noise()
    flac, caf = written(wave, "FLAC", "PCM_16"), written(wave, "CAF", "PCM_16")
    rf64, wav = written(wave, "RF64", "PCM_16"), written(wave, "WAV", "PCM_16")
    streamed = {
        "pipe.flac": without_flac_length(flac),
        "open.caf": patched(caf, caf.index(b"data") + 4, b"\xff" * 8),
        "zeros.wav": patched(rf64, 20, bytes(24)),
        "most.wav": patched(rf64, 20, b"\xff" * 24),
        "zero.wav": patched(wav, wav.index(b"data") + 4, bytes(4)),
    }
    for name, content in streamed.items():
        (tmp_path / name).write_bytes(content)
        found, rate_hz = read_wav(tmp_path / name)
        assert rate_hz == RATE_HZ, name
        np.testing.assert_array_equal(found[0], wave.astype(np.float32), name)


@pytest.mark.parametrize("kind", ["WAV", "RF64", "CAF", "FLAC", "AIFF", "AU", "W64"])
def test_a_file_that_tells_its_length_stays_as_it_is(kind: str) -> None:
    content = written(noise(), kind, "PCM_16")
    assert with_its_length(content) is content


def test_an_mp3_file_that_tells_its_length_stays_as_it_is() -> None:
    content = written(noise(), "MP3", "MPEG_LAYER_III")
    assert b"Xing" in content[:60]
    for tag in (b"Xing", b"Info"):
        told = content.replace(b"Xing", tag, 1)
        assert with_its_length(told) is told


@pytest.mark.parametrize(
    ("version", "rate", "kbit_per_s", "n_bytes"),
    [(3, 0, 9, 417), (3, 1, 9, 384), (3, 2, 14, 1440), (2, 0, 8, 208), (2, 1, 8, 192), (2, 2, 1, 36), (0, 0, 8, 417),
     (0, 2, 14, 1440), (1, 0, 8, 0), (3, 3, 8, 0), (3, 0, 0, 0), (3, 0, 15, 0)],
)  # fmt: skip
def test_frames_of_mp3_are_as_long_as_the_standard_says(version: int, rate: int, kbit_per_s: int, n_bytes: int) -> None:
    """Samples of a frame / 8 * bit/s / rate, rounded down, and a byte more where it is filled up."""
    for padding in (0, 1):
        header = bytes([0xFF, 0xE2 | version << 3 | 1, kbit_per_s << 4 | rate << 2 | padding << 1, 0])
        assert headers._mp3_frame_bytes(b"x" + header, 1) == (n_bytes + padding if n_bytes else 0)
        assert headers._mp3_frame_bytes(header[:3], 0) == 0


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE", "AVERAGE"])
@pytest.mark.parametrize(("rate_hz", "n_channels"), [(8000, 1), (16000, 2), (44100, 1), (48000, 2)])
def test_an_mp3_file_that_does_not_tell_its_length_is_read_to_its_end(
    tmp_path: Path, mode: str, rate_hz: int, n_channels: int
) -> None:
    wave = np.repeat(noise(4.0, rate_hz, grows=True)[:, None], n_channels, axis=1)
    content = written(wave, "MP3", "MPEG_LAYER_III", rate_hz, bitrate_mode=mode, compression_level=0.5)
    size = headers._mp3_frame_bytes(content, 0)
    kinds = {"none": content[size:], "blank": content[:4] + bytes(size - 4) + content[size:]}
    kinds["tagged"] = b"ID3\x03\0\0\0\0\x02\x00" + bytes(256) + kinds["none"] + b"TAG" + bytes(125)
    kinds["twice"] = content + content
    for name, changed in kinds.items():
        (tmp_path / name).write_bytes(changed)
        found, _ = read_wav(tmp_path / name)
        with av.open(io.BytesIO(changed), mode="r") as other:
            n_all = sum(frame.samples for frame in other.decode(audio=0))
        assert abs(found.shape[1] - n_all) <= 3 * 1152, name  # what one decoder drops at either end
        assert found.shape[1] > (1.95 if name == "twice" else 0.98) * len(wave), name
        assert np.abs(found[0, -len(wave) // 4 : -3000]).std() > 0.01, name  # the loud half is there
        seconds, channels, n_samples = promised_length(tmp_path / name, changed)
        assert seconds == pytest.approx(found.shape[1] / rate_hz, abs=0.1)
        assert (channels, n_samples) == (n_channels, round(seconds * rate_hz) * n_channels)


@pytest.mark.parametrize(
    ("kind", "order", "before"),
    [("WAV", "<I", b"data"), ("RF64", "<Q", b"ds64****riffsize"), ("RIFX", ">I", b"data"), ("AIFF", ">I", b"SSND")],
)
def test_a_file_that_holds_more_than_its_header_promises_is_refused(
    tmp_path: Path, kind: str, order: str, before: bytes
) -> None:
    """As a recorder leaves it that lost its power; in a WAV of more than 4 GiB the length begins anew, too."""
    path, big = tmp_path / "a.wav", {"endian": "BIG"} if kind == "RIFX" else {}
    content = written(noise(), kind.replace("RIFX", "WAV"), "PCM_16", **big)
    path.write_bytes(patched(content, content.index(before[:4]) + len(before), struct.pack(order, 32000)))
    with pytest.raises(AsdError, match=r"was not finished: its header promises 32000 bytes of samples, the file holds"):
        read_sound(path)


def test_what_may_follow_samples_is_not_taken_for_more_of_them(tmp_path: Path) -> None:
    content = written(noise(1.0), "WAV", "PCM_16")
    chunk = b"LIST" + struct.pack("<I", 8000) + b"\1" * 8000
    for rest in (bytes(32000), chunk, b"TAG" + b"x" * 125):  # set aside, a chunk, a tag
        (tmp_path / "a.wav").write_bytes(content + rest)
        assert read_sound(tmp_path / "a.wav").n_samples == RATE_HZ


def test_ogg_files_one_behind_another_are_read_to_the_end(tmp_path: Path) -> None:
    once = written(noise(), "OGG", "VORBIS")
    (tmp_path / "a.ogg").write_bytes(once + once)
    sound = read_sound(tmp_path / "a.ogg")
    assert (sound.lossy, round(sound.n_samples / RATE_HZ, 1)) == ("VORBIS", 4.0)


def test_what_was_cut_off_is_refused_whatever_it_is(tmp_path: Path) -> None:
    wave = noise(10.0)
    whole = {
        "a.ogg": written(wave, "OGG", "VORBIS"),
        "b.opus": written(wave, "OGG", "OPUS"),
        "c.flac": without_flac_length(written(wave, "FLAC", "PCM_16")),
        "d.mka": write_media(tmp_path / "d.mka", "aac", wave, RATE_HZ).read_bytes(),
        "e.webm": write_media(tmp_path / "e.webm", "libopus", wave, 48000).read_bytes(),
    }
    for name, content in whole.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert read_sound(path).n_samples > 0
        if path.suffix in (".mka", ".webm"):
            path.write_bytes(content[:600])
            with pytest.raises(
                AsdError, match=rf"{name} is truncated: its header promises \d+ samples, the file holds 0"
            ):
                read_sound(path)
        for share in (0.5, 0.9):
            path.write_bytes(content[: int(share * len(content))])
            with pytest.raises(AsdError, match=rf"{name} is (truncated: its header promises|not a readable)"):
                read_sound(path)


@pytest.mark.parametrize("share", [0.27, 0.35, 0.45, 0.5, 0.6])
def test_a_flac_file_from_a_pipe_with_a_damaged_frame_is_refused(tmp_path: Path, share: float) -> None:
    content = without_flac_length(written(noise(), "FLAC", "PCM_16"))
    at = round(share * len(content))
    (tmp_path / "a.flac").write_bytes(patched(content, at, bytes([content[at] ^ 1])))
    with pytest.raises(AsdError, match=r"a\.flac lasts 2 s and holds sound of 1.49 s; copy or record it again"):
        read_sound(tmp_path / "a.flac")


def test_pieces_of_a_stream_of_flac_are_read(tmp_path: Path) -> None:
    """As `ffmpeg -f segment` cuts them: the numbers of their frames go on, and no header tells a length."""
    options = {"segment_time": "1", "segment_format": "flac"}
    with av.open(str(tmp_path / "%d.flac"), "w", format="segment", options=options) as container:
        stream = container.add_stream("flac", rate=RATE_HZ)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray((noise(4.0) * 32767).astype(np.int16).reshape(1, -1), "s16", "mono")
        frame.sample_rate, frame.pts = RATE_HZ, 0
        for part in (frame, None):
            container.mux(stream.encode(part))
    whole = sorted(tmp_path.glob("*.flac"))[:-1]
    assert len(whole) > 1
    for path in whole:
        assert read_sound(path).n_samples / RATE_HZ == pytest.approx(1.0, abs=0.15)
        assert headers.is_flac_piece(path.read_bytes()) is (path.name != "0.flac")
    assert not headers.is_flac_piece(b"fLaC")


def test_what_promises_no_length_is_not_taken_for_a_short_recording(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(without_flac_length(written(noise(), "FLAC", "PCM_16")))
    write_media(tmp_path / "b.m4a", "aac", noise(), RATE_HZ)
    for name in ("a.flac", "b.m4a"):
        with pytest.raises(AsdError, match=rf"{name} does not tell its length before it is decoded .*; send WAV or"):
            promised_length(tmp_path / name, (tmp_path / name).read_bytes())


@pytest.mark.parametrize("rate_hz", [1, 99, 1_000_001, 2**31 - 1])
def test_a_rate_at_which_nothing_is_sampled_is_refused_before_anything_is_resampled(
    tmp_path: Path, rate_hz: int
) -> None:
    content = written(noise(), "WAV", "PCM_16")
    (tmp_path / "a.wav").write_bytes(patched(content, 24, struct.pack("<I", rate_hz)))
    with pytest.raises(AsdError, match=rf"a\.wav is sampled at {rate_hz} Hz by its header; write the true rate"):
        read_sound(tmp_path / "a.wav", sample_rate_hz=RATE_HZ)


def test_bytes_of_any_kind_are_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    beginnings = [
        b"RF64\xff\xff\xff\xffWAVEds64",
        b"caff\0\1\0\0",
        b"OggS\0\2",
        b"fLaC",
        b"ID3",
        b"\xff\xfb\x90\x64",
        b"",
    ]
    for beginning in beginnings:
        for length in (0, 1, 9, 30, 200):
            for tail in (bytes(length), b"\xff" * length, rng.bytes(length)):
                (tmp_path / "a.wav").write_bytes(beginning + tail)
                with pytest.raises(AsdError, match=r"a\.wav"):
                    read_sound(tmp_path / "a.wav")


def write_aac(path: Path, wave: np.ndarray[Any, Any], begins: int = 0) -> None:
    """AAC whose times begin with so many samples."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        for start in range(0, len(wave), 1024):
            piece = wave[None, start : start + 1024].astype(np.float32)
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, begins + start, Fraction(1, RATE_HZ)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("name", ["a.m4a", "a.mka"])
def test_a_recording_whose_times_begin_late_is_whole(tmp_path: Path, name: str) -> None:
    write_aac(tmp_path / name, noise(), begins=RATE_HZ)
    assert read_sound(tmp_path / name).n_samples / RATE_HZ == pytest.approx(2.0, abs=0.07)  # a frame at the end


def test_silence_by_which_an_encoder_fills_its_last_frame_is_no_sound(tmp_path: Path) -> None:
    wave = noise(2.1)
    write_aac(tmp_path / "a.m4a", wave)
    found, _ = read_wav(tmp_path / "a.m4a")
    assert found.shape == (1, len(wave))
    assert np.corrcoef(found[0], wave)[0, 1] > 0.9
    assert found[0, -500:].std() > 0.05


def test_flac_holds_the_samples_and_opus_about_60_kbit_a_second() -> None:
    waves = np.stack([noise(), noise()[::-1]]).astype(np.float32)
    for rate_hz in (16000, 48000, 22050):
        for codec in ("flac", "opus"):
            content = encode(waves[:1] if codec == "opus" else waves, rate_hz, codec)  # type: ignore[arg-type]
            is_opus = codec == "opus" and rate_hz != 22050  # a rate that Opus does not know
            with soundfile.SoundFile(io.BytesIO(content)) as file:
                kinds = (file.format, file.subtype, file.samplerate)
                found = file.read(dtype="float32", always_2d=True).T
            assert kinds == (("OGG", "OPUS") if is_opus else ("FLAC", "PCM_16")) + (rate_hz,)
            if is_opus:
                seconds = waves.shape[1] / rate_hz
                assert 40_000 < 8 * len(content) / seconds < 80_000
            else:
                np.testing.assert_array_equal(found, waves[: len(found)])
    assert encode(waves, 16000, "flac")[:4] == b"fLaC"


def test_chunks_of_odd_length_are_filled_up() -> None:
    """A size of 0 with nothing but whole chunks behind it is the truth; with anything else, a recorder's."""
    content = written(noise(), "WAV", "PCM_16")
    at = content.index(b"data") + 8
    chunks = b"note\3\0\0\0abc\0" + b"LIST\4\0\0\0abcd"
    empty = patched(content, at - 4, bytes(4))[:at]
    assert with_its_length(empty + chunks) == empty + chunks
    for samples in (b"note\3\0\0\0abc" + b"LIST\4\0\0\0abcd", b"\xff\xfe\3\4\0\0\0\0", bytes(8) + b"\1\2"):
        told = patched(empty, at - 4, struct.pack("<I", len(samples)))
        assert with_its_length(empty + samples) == told + samples


@pytest.mark.parametrize(
    ("kind", "subtype", "lossy"),
    [("WAV", "PCM_16", ""), ("WAV", "FLOAT", ""), ("FLAC", "PCM_16", ""), ("WAV", "ULAW", "ULAW"),
     ("MP3", "MPEG_LAYER_III", "MP3"), ("OGG", "VORBIS", "VORBIS"), ("OGG", "OPUS", "OPUS")],
)  # fmt: skip
def test_what_compressed_a_file_with_a_loss_is_named(tmp_path: Path, kind: str, subtype: str, lossy: str) -> None:
    (tmp_path / "a").write_bytes(written(noise(), kind, subtype))
    assert decode(tmp_path / "a").lossy == lossy


@pytest.mark.parametrize(
    ("kind", "subtype", "dtype"),
    [("WAV", "PCM_16", np.int16), ("WAV", "PCM_U8", np.int16), ("AIFF", "PCM_S8", np.int16),
     ("WAV", "PCM_24", np.float32), ("WAV", "FLOAT", np.float32), ("WAV", "DOUBLE", np.float32),
     ("OGG", "VORBIS", np.float32)],
)  # fmt: skip
def test_samples_take_two_bytes_where_these_are_exact_and_else_four(
    tmp_path: Path, kind: str, subtype: str, dtype: type
) -> None:
    (tmp_path / "a").write_bytes(written(noise(), kind, subtype))
    assert decode(tmp_path / "a").samples.dtype == dtype


def test_samples_that_ffmpeg_reads_are_floats_of_full_scale_1(tmp_path: Path) -> None:
    for codec in ("aac", "pcm_s16le", "pcm_f64le"):
        samples = decode(write_media(tmp_path / "a.mov", codec, noise(), RATE_HZ)).samples
        assert samples.dtype == np.float32, codec
        assert samples.std() == pytest.approx(noise().std(), rel=0.2), codec


def test_a_file_whose_header_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(AsdError, match=r"b\.wav does not exist"):
        promised_length(tmp_path / "b.wav", b"no sound")
    (tmp_path / "b.wav").write_bytes(b"no sound")
    for read in (decode, lambda path: promised_length(path, path.read_bytes())):
        with pytest.raises(
            AsdError, match=r"b\.wav \(8 bytes\) is not a readable WAV file \(.*[^.]\); remove it or copy"
        ):
            read(tmp_path / "b.wav")
    (tmp_path / "c").write_bytes(b"no sound")
    with pytest.raises(AsdError, match=r"c \(8 bytes\) is not a readable audio file"):
        decode(tmp_path / "c")


@pytest.mark.parametrize("rate_hz", [100, 1_000_000])
def test_the_least_and_the_most_that_is_sampled_are_read(tmp_path: Path, rate_hz: int) -> None:
    (tmp_path / "a.wav").write_bytes(written(noise(), "WAV", "PCM_16", rate_hz))
    assert decode(tmp_path / "a.wav").sample_rate_hz == rate_hz


def test_what_is_cut_off_is_told_in_bytes(tmp_path: Path) -> None:
    path, content = tmp_path / "a.ogg", written(noise(10.0), "OGG", "VORBIS")
    path.write_bytes(content[:-7])
    with pytest.raises(AsdError) as caught:
        decode(path)
    held = f"header promises {len(content)} bytes, the file holds {len(content) - 7}; copy it again"
    assert str(caught.value) == f"{path} is truncated: its {held}"
    path.write_bytes(written(noise(), "WAV", "PCM_16")[:-100])
    with pytest.raises(AsdError, match="its header promises 64000 bytes of samples, the file holds 63900; copy it"):
        decode(path)


def ogg_page(flags: int, n_bytes: int = 10) -> bytes:
    return b"OggS\0" + bytes([flags]) + bytes(20) + bytes([1, n_bytes]) + bytes(n_bytes)


def test_a_chain_of_ogg_begins_anew_after_it_has_gone_on() -> None:
    first, onward, continued, last = (ogg_page(flags) for flags in (2, 0, 1, 4))
    assert not headers.is_chained_ogg(first + first + onward + continued + last)  # two streams side by side
    assert headers.is_chained_ogg(first + onward + last + first + onward)
    assert not headers.is_chained_ogg(first + b"OggS\0")  # cut off in a header
    assert not headers.is_chained_ogg(b"")
    assert headers.cut_ogg(b"") is None
    assert headers.cut_ogg(first + onward) is None
    assert headers.cut_ogg((first + onward)[:-3]) == (2 * len(first), 2 * len(first) - 3)


def test_chunks_before_the_samples_of_caf_may_be_empty() -> None:
    beginning = b"caff\0\1\0\0" + struct.pack(">4sq", b"free", 0) + struct.pack(">4sq", b"info", 3) + b"abc"
    opened = beginning + struct.pack(">4sq", b"data", -1) + b"\1\2\3\4\5\6"
    assert with_its_length(opened) == beginning + struct.pack(">4sq", b"data", 6) + b"\1\2\3\4\5\6"
    for whole in (beginning, beginning + struct.pack(">4sq", b"data", 0) + b"\1\2", beginning[:15]):
        assert with_its_length(whole) == whole
    other = beginning + struct.pack(">4sq", b"peak", -1) + b"\1\2"
    assert with_its_length(other) == other


def test_a_first_frame_of_mp3_that_tells_too_few_is_replaced_and_a_missing_one_is_added() -> None:
    content = written(noise(), "MP3", "MPEG_LAYER_III")
    size, n_frames = headers._mp3_frame_bytes(content, 0), len([*headers._mp3_frames(content)]) - 1
    assert headers._told_frames(content) == n_frames
    for given in (content[size:], patched(content, content.index(b"Xing") + 8, struct.pack(">I", n_frames - 1))):
        made = with_its_length(given)
        assert made[headers._mp3_frame_bytes(made, 0) :] == content[size:]
        assert headers._told_frames(made) == n_frames


@pytest.mark.parametrize("kind", ["wav", "aiff", "caf", "au", "ogg", "mp3", "flac", "flac from a pipe", "aac"])
def test_tags_before_a_file_of_any_kind_are_passed_over(tmp_path: Path, kind: str) -> None:
    subtype = {"ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}.get(kind, "PCM_16")
    if kind == "aac":
        write_media(tmp_path / "a.aac", "aac", noise(), RATE_HZ)
        content = (tmp_path / "a.aac").read_bytes()
    else:
        content = written(noise(), kind.split()[0].upper(), subtype)
    content = without_flac_length(content) if "pipe" in kind else content
    found = []
    for before in (b"", b"ID3\4\0\0\0\0\0\5abcde", b"ID3\3\0\0\0\0\2\0" + bytes(256)):
        (tmp_path / "a").write_bytes(before + content)
        found.append(decode(tmp_path / "a").samples)
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_tags_before_a_file_say_how_long_they_are_by_seven_bits_a_byte() -> None:
    tag = b"ID3\4\0\0" + bytes([1, 2, 3, 4])
    end = 10 + (1 << 21) + (2 << 14) + (3 << 7) + 4
    assert behind_id3(tag) == end
    assert behind_id3(tag.ljust(end, b"x") + b"ID3\4\0\0\0\0\0\7" + bytes(7) + b"\xff") == end + 17
    assert behind_id3(tag[:9]) == behind_id3(b"") == behind_id3(b"TAG" + bytes(9)) == 0


@pytest.mark.parametrize(
    ("version", "is_mono", "at"), [(3, False, 36), (3, True, 21), (2, False, 21), (2, True, 13), (0, True, 13)]
)
def test_a_first_frame_tells_how_many_follow_behind_the_side_information(version: int, is_mono: bool, at: int) -> None:
    header = bytes([0xFF, 0xE3 | version << 3, 0x80, 0xC0 if is_mono else 0])
    for tag in (b"Xing", b"Info"):
        first = header.ljust(at, b"\0") + tag
        assert headers._told_frames(first + struct.pack(">II", 1, 7)) == 7
        assert headers._told_frames(first + struct.pack(">II", 15, 7)) == 7
        assert headers._told_frames(first + struct.pack(">II", 14, 7)) == 0  # something else is told
        assert headers._told_frames(first) == 0  # cut off
    assert headers._told_frames(header.ljust(36, b"\0") + b"VBRI") == 0
    assert headers._told_frames(header.ljust(60, b"\0")) is None


def test_flac_tells_no_length_where_all_of_36_bits_are_zero() -> None:
    open_end = b"fLaC" + bytes(17) + bytes([0xF0]) + bytes(5)
    assert headers.is_flac_without_length(open_end)
    assert not headers.is_flac_without_length(open_end[:26])
    assert not headers.is_flac_without_length(b"OggS" + open_end[4:])
    for at, value in ((21, 0xF1), (21, 0xF8), (22, 1), (23, 1), (24, 1), (25, 128)):
        assert not headers.is_flac_without_length(patched(open_end, at, bytes([value]))), at
    assert headers.is_flac_without_length(patched(open_end, 26, b"\1"))  # of the checksum


@pytest.mark.parametrize("between", [b"", b"\0" * 40, b"\xff" * 9, b"TAG" + bytes(125), "false frame"])
def test_frames_of_mp3_are_counted_beyond_what_lies_between_files(between: bytes | str) -> None:
    content = written(noise(), "MP3", "MPEG_LAYER_III", bitrate_mode="CONSTANT")
    once = [*headers._mp3_frames(content)]
    assert len(once) == pytest.approx(2.0 * RATE_HZ / 576, abs=4)  # samples of a frame below 32 kHz
    gap = content[:4] + bytes(50) if isinstance(between, str) else between
    found = [*headers._mp3_frames(content + gap + content)]
    behind = len(content) + len(gap)
    assert [at for at in found if at < len(content)] == once
    if isinstance(between, bytes):
        assert [at for at in found if at >= behind] == [behind + at for at in once]


@pytest.mark.parametrize(
    ("n_channels", "bits", "block", "a_second", "is_right"),
    [(1, 16, 2, 32000, True), (1, 16, 4, 32000, True), (1, 16, 0, 0, True), (1, 24, 2, 32000, False),
     (2, 16, 2, 32000, False), (1, 8, 2, 32000, False), (1, 16, 4, 64000, False)],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["WAV", "RIFX", "RF64"])
def test_a_header_that_contradicts_itself_is_refused(
    tmp_path: Path, kind: str, n_channels: int, bits: int, block: int, a_second: int, is_right: bool
) -> None:
    """Both fields that tell the bytes of a sample have to be wrong for that; one alone is a lazy program's."""
    content = written(noise(), kind.replace("RIFX", "WAV"), "PCM_16", **({"endian": "BIG"} if kind == "RIFX" else {}))
    fields, order = struct.Struct(f"{'>' if kind == 'RIFX' else '<'}HIIHH"), content.index(b"fmt ") + 10
    wanted = fields.pack(n_channels, RATE_HZ, a_second, block, bits)
    (tmp_path / "a.wav").write_bytes(patched(content, order, wanted))
    if is_right:
        assert read_sound(tmp_path / "a.wav").n_samples == len(noise())
        return
    with pytest.raises(
        AsdError, match=rf"a.wav contradicts itself: .* and {block} bytes, not {n_channels * bits // 8};"
    ):
        read_sound(tmp_path / "a.wav")


def test_rf64_that_holds_less_than_it_promises_is_truncated(tmp_path: Path) -> None:
    content = written(noise(), "RF64", "PCM_16")
    (tmp_path / "a.wav").write_bytes(patched(content, 28, struct.pack("<Q", 99_000)))  # of the samples, not of all
    held = 2 * len(noise())
    with pytest.raises(
        AsdError, match=f"is truncated: its header promises 99000 bytes of samples, the file holds {held};"
    ):
        read_sound(tmp_path / "a.wav")
