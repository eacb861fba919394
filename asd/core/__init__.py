"""Learning from tensors; knows nothing of audio, machines or challenges."""
