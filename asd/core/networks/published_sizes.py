"""The sizes of a pretrained network, from the configuration that its authors published with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from asd.types import AsdError


def published_sizes(
    published: Mapping[str, Any], sizes: Collection[str], common: Mapping[str, Any], network: str
) -> dict[str, Any]:
    """The entries of a published configuration that are sizes, by name.

    Args:
        published: the configuration.
        sizes: names to take, where they are there.
        common: what all published checkpoints have in common; a network with anything else is another one.
        network: what the sentence of the error calls it, such as "a BEATs".

    Raises:
        AsdError: it is of a variant that nobody has published.
    """
    for name, usual in common.items():
        if published.get(name, usual) != usual:
            raise AsdError(f"{network} network with {name}={published[name]!r} is none of the published ones")
    return {name: published[name] for name in sizes if name in published}
