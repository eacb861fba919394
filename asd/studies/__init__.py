"""Experiments behind the pages of docs/: each module or folder with `run` is one study and one command."""
