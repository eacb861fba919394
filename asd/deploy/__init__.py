"""From the bench to the plant: a fitted model that listens, answers over HTTP, or leaves as a graph."""
