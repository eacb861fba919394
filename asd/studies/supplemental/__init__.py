"""What each use of noise-only and of clean recordings gains."""
