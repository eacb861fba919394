"""A card that is pretended, where there is none: tensors on the CPU that say they lie on one, and are refused as there.

On a card an operation of two tensors, one there and one on the CPU, is an error, and so is numpy of a tensor there; on
a computer without a card no test would notice. Within `pretended_card()` torch sees a card, `device="cuda"` makes
tensors that remember where they lie, and such operations fail with the words of CUDA. What they compute is computed
on the CPU; autocast for CUDA is that of the CPU.

Not seen: kernels that CUDA lacks, their rounding, memory, streams, and whatever C++ does below an operation.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

CARD = torch.device("cuda", 0)
_ON_CPU = torch.device("cpu")
_Function = Callable[..., Any]
_autocast = torch.autocast


class OnCard(torch.Tensor):
    """A tensor that says it lies on a card."""

    @classmethod
    def __torch_function__(
        cls, func: _Function, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The operation, where it could be done on a card."""
        return _done(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        with torch._C.DisableTorchFunctionSubclass():
            copied = self.detach().clone().as_subclass(OnCard).requires_grad_(self.requires_grad)
            copied.__dict__.update(self.__dict__)  # whether it is a parameter
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.cpu().__reduce_ex__(protocol)


class _Devices(TorchFunctionMode):
    """Makes tensors on the card where `device=` says so."""

    def __torch_function__(
        self, func: _Function, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _done(func, args, kwargs or {})


class _Generator(torch.Generator):
    """Random numbers of a device: those for a card cannot be had on the CPU, nor the other way round."""

    lies_on: torch.device

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = super().__new__(cls)
        made.lies_on = torch.device(device)
        return made


class _Autocast(_autocast):
    """Mixed precision as on the CPU, which leaves out nearly the same operations."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)


@contextlib.contextmanager
def pretended_card() -> Iterator[None]:
    """Within, torch sees a card."""
    with contextlib.ExitStack() as stack:
        for name, value in (
            ("is_available", True),
            ("device_count", 1),
            ("current_device", 0),
            ("is_bf16_supported", True),
            ("get_device_name", "pretended"),
            ("synchronize", None),
            ("is_current_stream_capturing", False),
            ("set_device", None),
            ("get_rng_state", torch.zeros(16, dtype=torch.uint8)),
            ("set_rng_state", None),
            ("max_memory_allocated", 0),
        ):
            stack.enter_context(mock.patch.object(torch.cuda, name, return_value=value))
        stack.enter_context(mock.patch.object(torch, "Generator", _Generator))
        stack.enter_context(mock.patch.object(torch, "autocast", _Autocast))
        stack.enter_context(mock.patch.object(torch.backends.cudnn, "is_acceptable", return_value=False))
        stack.enter_context(mock.patch.object(threading.Thread, "run", _run_with_card))
        stack.enter_context(_Devices())
        yield


_run = threading.Thread.run


def _run_with_card(thread: threading.Thread) -> None:
    """The work of a thread: what torch does otherwise is a matter of each thread."""
    with _Devices():
        _run(thread)


def _done(func: _Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = getattr(func, "__name__", "")
    owner = getattr(func, "__self__", None)
    if name == "__get__" and owner is torch.Tensor.device:
        return CARD if isinstance(args[0], OnCard) else _ON_CPU
    if name == "__get__" and owner is torch.Tensor.is_cuda:
        return isinstance(args[0], OnCard)
    if name in {"numpy", "__array__", "from_dlpack", "__dlpack__"} and isinstance(args[0], OnCard):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")
    if name in {"to", "cpu", "cuda"} and args and isinstance(args[0], torch.Tensor):
        return _moved(name, *args, **kwargs)
    if func is torch._has_compatible_shallow_copy_type:
        return isinstance(args[0], OnCard) == isinstance(args[1], OnCard)  # else a module gets other parameters
    target = kwargs.get("device")
    if target is not None and func not in (torch.device, torch.Generator):
        kwargs = {**kwargs, "device": _ON_CPU} | ({"pin_memory": False} if "pin_memory" in kwargs else {})
        _check_generator(kwargs, torch.device(target))
        return _placed(_plainly(func, args, kwargs), torch.device(target).type == "cuda")
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
    there = any(isinstance(tensor, OnCard) for tensor in tensors)
    here = any(not isinstance(tensor, OnCard) and tensor.dim() > 0 for tensor in tensors)
    if there and here and not _may_mix(name, args):
        raise RuntimeError(
            f"{name}: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
        )
    if not there:
        return _plainly(func, args, kwargs)
    _check_generator(kwargs, CARD)
    found = _plainly(func, args, kwargs)
    return found if name == "copy_" or name == "__setitem__" else _placed(found, True)


def _may_mix(name: str, args: tuple[Any, ...]) -> bool:
    """Whether CUDA, too, takes tensors of two devices: copies do, and places on the card named by the CPU."""
    if name == "__getitem__":
        return isinstance(args[0], OnCard)
    indices = [value for value in tree_flatten(args[1:2])[0] if isinstance(value, torch.Tensor)]
    return name == "copy_" or (name == "__setitem__" and not indices)


def _moved(name: str, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """The tensor where it is asked to be, a copy unless it is there already."""
    target: torch.device | None = {"cpu": _ON_CPU, "cuda": CARD}.get(name)
    dtype: torch.dtype | None = kwargs.get("dtype")
    for value in args if name == "to" else ():
        if isinstance(value, torch.Tensor):
            target, dtype = value.device, value.dtype
        elif isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, (str, torch.device)) or type(value) is int:
            target = torch.device(value)
    if kwargs.get("device") is not None:
        target = torch.device(kwargs["device"])
    was_there = isinstance(tensor, OnCard)
    is_there = was_there if target is None else target.type == "cuda"
    with torch._C.DisableTorchFunctionSubclass():
        found = tensor if dtype is None else tensor.to(dtype)
        if found is tensor and (was_there != is_there or kwargs.get("copy")):
            found = tensor.clone()
    if was_there == is_there and found is tensor:
        return tensor
    return _placed(found, is_there)


def _plainly(func: _Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with torch._C.DisableTorchFunctionSubclass():
        return func(*args, **kwargs)


def _placed(found: Any, on_card: bool) -> Any:
    kind = OnCard if on_card else torch.Tensor
    with torch._C.DisableTorchFunctionSubclass():
        return tree_map(
            lambda value: (
                value.as_subclass(kind)
                if isinstance(value, torch.Tensor) and isinstance(value, OnCard) != on_card
                else value
            ),
            found,
        )


def _check_generator(kwargs: dict[str, Any], device: torch.device) -> None:
    generator = kwargs.get("generator")
    lies_on = getattr(generator, "lies_on", _ON_CPU)
    if generator is not None and lies_on.type != device.type:
        raise RuntimeError(f"Expected a '{device.type}' device type for generator but found '{lies_on.type}'")
