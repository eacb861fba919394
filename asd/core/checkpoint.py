"""Tensors and small facts on disk: safetensors with a JSON header, written whole or not at all.

No pickle anywhere: a model directory can be opened by anybody without running its code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from asd.core.files import atomic
from asd.types import AsdError

CONTAINERS = ("model_state_dict", "state_dict", "model")  # under which training scripts keep the weights
_WRAPPERS = ("module.", "_orig_mod.")


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any] | None = None) -> None:
    """Writes named tensors and JSON-able facts to one safetensors file, atomically.

    Args:
        path: of the file.
        tensors: by name.
        facts: plain values that are stored beside them.

    Raises:
        AsdError: the file cannot be written.
    """
    # safetensors wants no two names on one memory, as two domains that share a covariance have
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        # Not its save_file: that has a temporary file of its own, which a killed process leaves for good.
        temporary.write_bytes(save(plain, metadata={"facts": json.dumps(dict(facts or {}))}))


def load_tensors(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Reads what `save_tensors` wrote: (tensors, facts).

    Args:
        path: of the file.
        device: where the tensors go.

    Raises:
        AsdError: the file is missing, truncated or not safetensors.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118 (not a dict)
    except FileNotFoundError as error:
        raise AsdError(f"{path} does not exist") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise AsdError(f"{path} is damaged or no safetensors file ({error})") from error


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Reads a state dict from `.safetensors`, or from a `.pth`/`.pt` without running any code in it.

    Returns:
        Tensors by name on the CPU, wherever they were saved; see `state_in` for what may be around them.

    Raises:
        AsdError: the file is missing, damaged or holds something else than named tensors.
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
    state = state_in(loaded)
    if state is None:
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


def digest(module: torch.nn.Module, *also: str) -> str:
    """Hash of a module's weights and buffers by name, and of what else decides what it gives."""
    content = hashlib.sha256("".join(also).encode())
    for name, tensor in module.state_dict().items():
        content.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]


def load_into(module: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Loads `state` into `module`, strictly.

    Args:
        module: that takes the weights.
        state: tensors by name.
        path: where they come from, for messages.

    Raises:
        AsdError: names or shapes differ: the weights belong to another network or configuration.
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
    module.load_state_dict(dict(state))


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """State of an optimiser as flat named tensors ("optimizer.<parameter>.<name>")."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{i}.{key}": value for i, slots in state.items() for key, value in slots.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Inverse of `flatten_optimizer`; learning rates and other options stay those of `optimizer`.

    Args:
        optimizer: of the same parameters.
        tensors: what `flatten_optimizer` gave, among others.
    """
    full = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            like = parameters[int(index)]
            if tensor.shape == like.shape:
                # Fused kernels walk memory, not indices: a moment has to lie in the order of its weight.
                tensor = torch.empty_like(like).copy_(tensor)
            slots.setdefault(int(index), {})[key] = tensor
    full["state"] = slots
    optimizer.load_state_dict(full)
