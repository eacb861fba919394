"""Networks: tensors in, tensors out."""

from asd import lazy_modules

__getattr__, __dir__ = lazy_modules(__name__)
