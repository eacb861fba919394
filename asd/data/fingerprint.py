"""What data is the same: one key for runs, caches and encoders alike.

A recording is the same wherever it lies, as long as it has the same name, content and everything that is known of it:
machine, section, split, domain, label and attributes. Where one of them changes, what was learnt or computed from it
is of other data.
"""

from __future__ import annotations

from collections.abc import Iterable

from asd.core.runtime import fingerprint
from asd.types import Clip


def data_fingerprint(recordings: Iterable[tuple[Clip, str]]) -> str:
    """Short hash of recordings, in order.

    Args:
        recordings: each clip, and the SHA-256 of what it holds.
    """
    return fingerprint(
        [
            (
                *(clip.name, clip.machine, clip.section, clip.split, clip.domain, clip.label),
                sorted(clip.attributes.items()),
                content,
            )
            for clip, content in recordings
        ]
    )
