"""Which loss helps when events differ in length and frequency."""
