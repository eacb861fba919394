"""Vectors to scores, scores to one scale and to decisions; where vectors come from does not matter."""

from functools import partial

from asd import lazy_module

__getattr__ = partial(lazy_module, __name__)
