"""Sound event detection on the same core: who was heard when."""
