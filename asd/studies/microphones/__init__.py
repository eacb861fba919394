"""What each front end for two microphones gains."""
