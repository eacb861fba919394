"""Learning from clips without labels, by a teacher that is the student's running average.

    student ──EMA──► `teacher` ─► probabilities ─┬─ all of them ───────────► `teacher.Consistency`
                                                 └─ `confident` ones only ─► targets and weights of a BCE

Confident ones are smoothed by a median in time. How strongly all this counts at which step is a ramp of
`asd.core.update`.
"""
