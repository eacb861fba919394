"""What a teacher adds where few clips are labelled."""
