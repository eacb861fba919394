"""How well a CNN on the waveform recognises spoken digits, and how it works."""

from asd.studies.digits.study import run as run
