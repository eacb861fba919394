"""Vectors to scores, scores to one scale and to decisions; where vectors come from does not matter."""

from asd import lazy_modules

__getattr__, __dir__ = lazy_modules(__name__)
