"""Machines must be heard failing: anomalous sound detection, DCASE Challenge Task 2 style.

    wav files ─► clips ─► waveforms ─► features ─► detector.fit / score
             ─► score table ─► metrics ─► submission package, report

Each arrow is a room or a module: `challenge.files`, `sound`, `detectors`, `runs`, `metrics`,
`challenge.submission`. `pipeline` strings them together; start reading there.
Higher score = more anomalous, everywhere. This module imports nothing.
"""
