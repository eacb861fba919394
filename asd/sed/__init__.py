"""Sound event detection on the same core: which events occur when."""
