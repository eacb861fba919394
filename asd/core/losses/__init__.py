"""Losses shared by anomaly and event detection: tensors in, an explicit reduction, no data.

Read `cells` first: what is counted, weighted and ignored, by which name it is reduced, the squared error and the cross
entropy. On it stand `binary` (BCE, its reweightings, dice, Tversky; by name), `graph` (co-occurrence) and `multitask`
(their weighted sum). `metric_learning` shapes embeddings and stands alone.
"""

from asd import lazy_modules

__getattr__, __dir__ = lazy_modules(__name__)
