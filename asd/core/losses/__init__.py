"""Losses shared by anomaly and event detection: tensors in, an explicit reduction, no data."""
