"""The options of the command line: declared and typed, read from `key=value` arguments, and listed by --help."""
