"""The losses of decisions per class by the names that a configuration gives them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from asd.core.losses.binary import AsymmetricFocal, Bce, InverseFrequency, SimpleReweighting
from asd.core.losses.overlap import BatchDice, FocalBatchTversky
from asd.types import AsdError

# name -> class; every one is called as loss(logits, targets, weight=None, ignore=None) and returns a scalar,
# or cells where its reduction is "none"
DECISION_LOSSES: dict[str, Callable[..., nn.Module]] = {
    "bce": Bce,
    "srl": SimpleReweighting,
    "ifl": InverseFrequency,
    "afl": AsymmetricFocal,
    "dice": BatchDice,
    "fbtl": FocalBatchTversky,
}


def decision_loss(name: str, **settings: Any) -> nn.Module:
    """The loss of that name.

    Args:
        settings: arguments of its class, "reduction" among them where the class reduces anything.

    Raises:
        AsdError: an unknown name, a setting that the loss does not have, or one that it needs.
    """
    if name not in DECISION_LOSSES:
        raise AsdError(f"no loss is called {name!r}; choose one of {', '.join(DECISION_LOSSES)}")
    signature = inspect.signature(DECISION_LOSSES[name])
    try:
        signature.bind(**settings)
    except TypeError as error:
        given = ", ".join(settings) or "none"
        raise AsdError(
            f"the loss {name!r} has the settings {', '.join(signature.parameters)}; got {given}: {error}"
        ) from error
    return DECISION_LOSSES[name](**settings)
