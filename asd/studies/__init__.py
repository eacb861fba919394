"""Experiments behind the pages of docs/: each folder is one study and one command."""
