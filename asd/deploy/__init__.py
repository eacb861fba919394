"""A fitted model in operation: live monitoring of a stream, an HTTP service, and export to a graph."""
