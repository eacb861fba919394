"""Weights of networks: read from checkpoints without running any code in them, and loaded strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from asd.core.files import load_tensors
from asd.types import AsdError

CONTAINERS = ("model_state_dict", "state_dict", "model")  # under which training scripts keep the weights
_WRAPPERS = ("module.", "_orig_mod.")


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Reads a state dict from `.safetensors`, or from a `.pth`/`.pt` without running any code in it.

    Tensors by name on the CPU, wherever they were saved; see `state_in` for what may be around them. `AsdError` where
    the file is missing, damaged or holds something else than named tensors.
    """
    if path.suffix not in {".pth", ".pt"}:
        try:
            return without_wrappers(load_tensors(path)[0])
        except AsdError as error:
            raise AsdError(f"{error}; give the official .pth or a .safetensors") from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise AsdError(f"{path} does not exist; name an existing file with weights=") from error
    except Exception as error:  # damaged files raise anything from EOFError to UnpicklingError
        raise AsdError(
            f"{path} is not a torch state dict of plain tensors ({type(error).__name__}); "
            f"give the official .pth or a .safetensors"
        ) from error
    if (state := state_in(loaded)) is None:
        raise AsdError(f"{path} holds no named tensors; give the official .pth or a .safetensors")
    return state


def state_in(content: Any) -> dict[str, torch.Tensor] | None:
    """The named tensors in what `torch.load` gave: bare, or under one of `CONTAINERS`; None where there are none.

    What lies between them, such as numbers of steps, is left aside; so are the prefixes of `without_wrappers`.
    """
    if not isinstance(content, dict):
        return None
    inside = next((content[name] for name in CONTAINERS if isinstance(content.get(name), dict)), content)
    tensors = {name: value for name, value in inside.items() if isinstance(value, torch.Tensor)}
    return without_wrappers(tensors) if tensors else None


def without_wrappers(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state without the prefixes that `DataParallel` and `torch.compile` put before every name."""
    for prefix in _WRAPPERS:
        if all(name.startswith(prefix) for name in state):
            return without_wrappers({name.removeprefix(prefix): value for name, value in state.items()})
    return dict(state)


def load_into(module: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Loads weights strictly; `AsdError` where names, shapes or types differ: they belong to another network.

    So it is where a weight is no number.

    Args:
        module, state, path: what takes the weights, these by name, and where they come from, for messages.
    """
    own = module.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if missing or unknown or shapes:
        example = (missing or unknown or shapes)[0]
        raise AsdError(
            f"{path} belongs to another network: {len(missing)} tensors missing, {len(unknown)} unknown, "
            f"{len(shapes)} of another shape (first: {example}); use the configuration it was trained with"
        )
    for name, weight in own.items():
        if state[name].is_floating_point() != weight.is_floating_point():
            raise AsdError(
                f"{path} holds {state[name].dtype} as {name}, and the network {weight.dtype}; give it in that type"
            )
        if not state[name].isfinite().all():
            raise AsdError(f"{path} holds NaN or infinity in {name}: it is damaged; train or fetch it again")
    module.load_state_dict(dict(state))
