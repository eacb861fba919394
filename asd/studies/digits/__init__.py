"""How well a CNN on the waveform knows spoken digits, and what it hears."""
