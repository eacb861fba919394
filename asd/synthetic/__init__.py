"""Synthetic machines in the challenge's layout: a demonstration, a test or a benchmark without a download.

A machine's name and the seed draw its design once: the harmonics of its shaft, its blades or teeth, the
rush of air, the valve in it, the hall around it. Each clip is then one recording of that machine:

    shaft: harmonics, passes of blades or teeth with sidebands ┐
    turbulence: band-passed noise                              ├─► room ─► + background ─► microphone
    strokes: ringing clicks of a valve, which also rests       ┘

Speed, load, background and microphone differ between source and target. An anomalous clip carries one of
`FAULTS`, from barely to plainly audible, so that detectors land between chance and perfection.
"""

from asd.synthetic.folders import make_machines as make_machines
