"""Fitted detectors as ONNX graphs, formula by formula: what `asd.features`, `asd.scoring` and networks compute."""
