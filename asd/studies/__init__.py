"""Experiments behind the pages of docs/: each file is one study and one command."""
