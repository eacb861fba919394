"""Recordings: files to checked waveforms, by one microphone or two."""
