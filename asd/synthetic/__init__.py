"""Synthetic machines in the challenge's layout: a demonstration, a test or a benchmark without a download.

A machine's name and the seed draw its design once: the harmonics of its shaft, its blades or teeth, the
rush of air, the valve in it, the hall around it. Each clip is then one recording of that machine:

    shaft: harmonics, passes of blades or teeth with sidebands ┐
    turbulence: band-passed noise                              ├─► room ─► + background ─► microphone
    strokes: ringing clicks of a valve, which also rests       ┘

Speed, load, background and microphone differ between source and target. An anomalous clip carries one of
`FAULTS`, from barely to plainly audible, so that detectors land between chance and perfection.

    design.py   a machine's name -> its design, drawn once
    sound.py    design, scene, health -> one waveform
    hall.py     the same in a noisy hall with two microphones, at a known ratio
    folders.py  names and counts -> folders of clips with attributes, as the organisers lay them out
"""

from asd.synthetic.design import FAULTS, Design, Health, Scene, draw_design
from asd.synthetic.folders import make_machines
from asd.synthetic.sound import render_clip

__all__ = ["FAULTS", "Design", "Health", "Scene", "draw_design", "make_machines", "render_clip"]
