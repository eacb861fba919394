"""From vectors and scores to better scores and decisions, with no idea where the vectors come from."""
