"""Networks: tensors in, tensors out."""

from functools import partial

from asd import lazy_module

__getattr__ = partial(lazy_module, __name__)
