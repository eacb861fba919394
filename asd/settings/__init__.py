"""What can be set: words of the command line, and the typed knobs they fill."""
