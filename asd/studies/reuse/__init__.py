"""What parts of the core do for an anomaly detector."""
