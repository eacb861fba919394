"""What libsndfile does not read and the libraries of ffmpeg do: m4a, mp4, webm and their like, by the extra `media`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asd.types import AsdError


def is_media(content: bytes) -> bool:
    """Whether a file begins as MP4 (m4a, mov, 3gp), Matroska (webm, mka), ASF (wma), AMR or ADTS (aac) do."""
    is_adts = len(content) > 1 and content[0] == 0xFF and content[1] & 0xF6 == 0xF0
    beginnings = (b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"#!AMR")
    return content[4:8] == b"ftyp" or content.startswith(beginnings) or is_adts


def read_media(path: Path, content: bytes) -> tuple[npt.NDArray[np.float32], int]:
    """Samples (channels, samples), full scale 1, and sample rate in Hz of the first sound in a file.

    Args:
        path: of the file, for messages.
        content: its bytes.

    Raises:
        AsdError: the extra is missing, or the file holds no sound or a damaged one.
    """
    try:
        import av
    except ImportError as error:
        raise AsdError(
            f"{path} is read by the extra media; pip install 'asd[media]', or convert it to WAV or FLAC"
        ) from error
    parts: list[npt.NDArray[np.float32]] = []
    try:
        with av.open(io.BytesIO(content), mode="r") as container:
            if not container.streams.audio:
                raise AsdError(f"{path} holds no sound; remove it")
            stream = container.streams.audio[0]
            to_float = av.AudioResampler(format="fltp")
            for frame in [*container.decode(stream), None]:
                parts += [part.to_ndarray().astype(np.float32) for part in to_float.resample(frame)]
            sample_rate_hz = int(stream.rate)
    except (av.FFmpegError, ValueError) as error:
        raise AsdError(f"{path} is not a readable recording ({error}); remove it or copy it again") from error
    if not parts:
        raise AsdError(f"{path} holds no samples; remove it or copy it again")
    return np.concatenate(parts, axis=1), sample_rate_hz
