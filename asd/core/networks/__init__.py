"""Networks: tensors in, tensors out."""

from asd import lazy_modules

__getattr__ = lazy_modules(__name__)
