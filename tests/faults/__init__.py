"""Planted faults: what can be wrong, how to plant it, and what each stage then has to do."""
