"""One self-contained page on a run: numbers with intervals, charts, and clips to look at and listen to."""
