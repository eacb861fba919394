"""Encoders by name, trained here or elsewhere, and their embeddings of whole clips."""
