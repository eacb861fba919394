"""Losses shared by anomaly and event detection: tensors in, an explicit reduction, no data.

Read `cells` first: what is counted, weighted and ignored, and by which name it is reduced. On it stand
`binary` (BCE and its reweightings), `overlap` (dice, Tversky), `categorical` (softmax), `regression`
(squared error), `graph` (co-occurrence) and `multitask` (their weighted sum); `catalogue` makes one by its
name. `metric_learning` shapes embeddings and stands alone.
"""
