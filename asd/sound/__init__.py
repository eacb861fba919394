"""From files to waveforms, features and clip statistics; knows recordings, not detectors."""
