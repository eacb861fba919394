"""Headers of WAV, CAF, MP3, FLAC and Ogg that do not tell how long a recording is: put right in memory, or found out.

Sources: Multimedia Programming Interface and Data Specifications 1.0 (RIFF); Apple Core Audio Format Specification 1.0;
ISO/IEC 11172-3 and 13818-3 (MP3); RFC 9639 (FLAC); RFC 3533 (Ogg).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

NO_SIZE = 1 << 62  # no file has so many bytes: the number stands for one that was not known
_RIFF_ORDERS = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">", b"FORM": ">"}  # of bytes, by how a file begins
_MPEG1_KBIT_PER_S = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KBIT_PER_S = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG1_RATES_HZ = (44100, 48000, 32000)
_MPEG1, _MPEG2 = 3, 2  # versions in a header; 0: MPEG 2.5


def behind_id3(content: bytes) -> int:
    """Where a file begins behind its ID3 tags, which programs put before MP3 as a rule, but before any other, too."""
    at = 0
    while content[at : at + 3] == b"ID3" and at + 10 <= len(content):
        a, b, c, d = content[at + 6 : at + 10]  # seven bits each
        at += 10 + (a << 21 | b << 14 | c << 7 | d)
    return at


def with_its_length(content: bytes) -> bytes:
    """The file with the length of its samples in its header, where that says nothing, or less than there is.

    libsndfile itself understands 0 and the largest numbers in AU, W64 and AIFF, and the latter in WAV.
    """
    if content[:4] in (b"RIFF", b"RF64"):
        return _wav_with_its_length(content)
    return _caf_with_its_length(content) if content[:4] == b"caff" else _mp3_with_its_length(content)


def _wav_with_its_length(content: bytes) -> bytes:
    for name, at, size in riff_chunks(content):
        if name == b"data" and is_large_wav(content):
            if 0 < size < NO_SIZE:
                return content
            return content[:20] + struct.pack("<QQ", len(content) - 8, len(content) - at) + content[36:]
        if name == b"data" and size == 0 and behind_chunks(content, at) < len(content):
            return content[: at - 4] + struct.pack("<I", len(content) - at) + content[at:]
    return content


def _caf_with_its_length(content: bytes) -> bytes:
    """A CAF file with the length of its samples, which come last where it is not told."""
    at = 8
    while at + 12 < len(content):
        name, size = struct.unpack_from(">4sq", content, at)
        at += 12
        if size < 0:  # which only the samples may have, and they come last then
            if name != b"data":
                return content
            return content[: at - 8] + struct.pack(">q", len(content) - at) + content[at:]
        at += size
    return content


def is_large_wav(content: bytes) -> bool:
    """Whether the content is RF64, whose first chunk `ds64` holds the size of the samples."""
    return content[:4] == b"RF64" and content[12:16] == b"ds64"


def riff_chunks(content: bytes, at: int = 12) -> Iterator[tuple[bytes, int, int]]:
    """Name, beginning and size of each chunk of WAV or AIFF from `at` on."""
    order = _RIFF_ORDERS.get(content[:4])
    while order and at + 8 <= len(content):
        name, size = struct.unpack_from(f"{order}4sI", content, at)
        if name == b"data" and is_large_wav(content):
            (size,) = struct.unpack_from("<Q", content, 28)
        at += 8
        yield name, at, size
        at += size + size % 2


def wav_frame_bytes(content: bytes) -> int:
    """Bytes that a sample of all channels takes in a WAV file, by both fields that tell it; 0 where they differ."""
    for name, at, _ in riff_chunks(content):
        if name == b"fmt " and at + 16 <= len(content):
            rate_hz, a_second, a_sample = struct.unpack_from(f"{_RIFF_ORDERS[content[:4]]}IIH", content, at + 4)
            return int(a_sample) if a_second == rate_hz * a_sample else 0
    return 0


def behind_chunks(content: bytes, at: int) -> int:
    """Where the RIFF chunks end that begin here: behind the file, or at what is none, such as samples."""
    for name, begin, size in riff_chunks(content, at):
        if not (name.isascii() and name.decode().isprintable()):
            break
        at = begin + size + size % 2
    return at


def _mp3_with_its_length(content: bytes) -> bytes:
    """An MP3 file with a first frame that says how many follow; libsndfile guesses it by the size of the first ones."""
    if not (size := _mp3_frame_bytes(content, 0)):
        return content
    n_frames, told = sum(1 for _ in _mp3_frames(content)), _told_frames(content)
    if told is not None:
        n_frames -= 1
        if told >= n_frames:
            return content  # what is missing is missed when it is decoded
    # version, rate and channels as of the others; without a checksum (| 1), and at the eighth bit rate, for room
    header = bytes([255, content[1] | 1, 8 << 4 | content[2] & 12, content[3]])
    said = header.ljust(_tag_at(header), b"\0") + b"Info" + struct.pack(">II", 1, n_frames)
    return said.ljust(_mp3_frame_bytes(header, 0), b"\0") + content[0 if told is None else size :]


def _mp3_frames(content: bytes) -> Iterator[int]:
    """Where frames like the first one are; what lies between files that were put together is passed over."""
    kind, at = _mp3_kind(content[:4]), 0

    def size_of(at: int) -> int:
        return _mp3_frame_bytes(content, at) if _mp3_kind(content[at : at + 4]) == kind else 0

    def is_one_of_two(at: int) -> bool:
        size = size_of(at)
        return size > 0 and _mp3_kind(content[at + size : at + size + 4]) == kind

    while 0 <= at < len(content):
        if size := size_of(at):
            yield at
            at += size
            continue
        at = content.find(b"\xff", at + 1)
        while at >= 0 and not is_one_of_two(at):  # by chance, four bytes may look like a frame
            at = content.find(b"\xff", at + 1)


def _mp3_kind(header: bytes) -> tuple[int, int]:
    """What all frames of a file share: version and layer, and sample rate."""
    return (header[1] & 254, header[2] & 12) if len(header) == 4 else (0, 0)


def _mp3_frame_bytes(content: bytes, at: int) -> int:
    """Length of the frame of layer III that begins here; 0: none does."""
    header = content[at : at + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, kbit_per_s, rate, padding = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or kbit_per_s in (0, 15) or rate == 3:  # which stand for nothing, or for a length of one's own
        return 0
    if version == _MPEG1:
        return 144_000 * _MPEG1_KBIT_PER_S[kbit_per_s] // _MPEG1_RATES_HZ[rate] + padding
    rate_hz = _MPEG1_RATES_HZ[rate] // (2 if version == _MPEG2 else 4)
    return 72_000 * _MPEG2_KBIT_PER_S[kbit_per_s] // rate_hz + padding


def _tag_at(header: bytes) -> int:
    """Where in a first frame its number of frames would stand: behind the side information."""
    mono, stereo = (17, 32) if header[1] >> 3 & 3 == _MPEG1 else (9, 17)
    return 4 + (mono if header[3] >> 6 == 3 else stereo)


def _told_frames(content: bytes) -> int | None:
    """Frames that follow by the first one, 0 where it does not say; None: it holds sound instead."""
    at = _tag_at(content[:4])
    if content[at : at + 4] in (b"Xing", b"Info"):
        flags, n_frames = struct.unpack(">II", content[at + 4 : at + 12].ljust(8, b"\0"))
        return n_frames if flags & 1 else 0
    return 0 if content[36:40] == b"VBRI" else None


def is_flac_without_length(content: bytes) -> bool:
    """Whether a FLAC file was written to a pipe: of 0 samples by its header, which stands for any number."""
    return content[:4] == b"fLaC" and len(content) > 26 and not (content[21] & 15 or any(content[22:26]))


def is_flac_piece(content: bytes) -> bool:
    """Whether FLAC is a later piece of a stream, as `ffmpeg -f segment` cuts it: its first frame is not number 0."""
    at, is_last = 4, content[:4] != b"fLaC"
    while not is_last and at < len(content):
        is_last = content[at] >= 128
        at += 4 + int.from_bytes(content[at + 1 : at + 4], "big")
    header = content[at : at + 5]
    return len(header) == 5 and header[0] == 0xFF and header[1] & 0xFC == 0xF8 and header[4] != 0


def is_chained_ogg(content: bytes) -> bool:
    """Whether an Ogg file is several, one behind another: a stream begins after others have gone on."""
    has_gone_on = False
    for at, _ in _ogg_pages(content):
        is_first = at + 5 < len(content) and bool(content[at + 5] & 2)
        if is_first and has_gone_on:
            return True
        has_gone_on |= not is_first
    return False


def cut_ogg(content: bytes) -> tuple[int, int] | None:
    """Bytes that an Ogg file promises by its last page, and bytes that it holds; None: that page is whole."""
    end = max((end for _, end in _ogg_pages(content)), default=0)
    return (end, len(content)) if end > len(content) else None


def _ogg_pages(content: bytes) -> Iterator[tuple[int, int]]:
    """Beginning and end of each page of an Ogg file; the last may end behind the file."""
    at = 0
    while content[at : at + 4] == b"OggS":
        header = content[at : at + 27].ljust(27, b"\0")
        end = at + 27 + header[26] + sum(content[at + 27 : at + 27 + header[26]])
        yield at, end
        at = end
