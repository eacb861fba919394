"""Encoders by name, trained here or elsewhere, and what they hear in whole clips."""
