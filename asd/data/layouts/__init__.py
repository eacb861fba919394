"""What folders and names of recordings tell: one file per layout, each a pure function from a listing to clips."""
