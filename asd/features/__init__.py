"""Waveforms to features, statistics and segments, on the device; knows recordings, not detectors."""
