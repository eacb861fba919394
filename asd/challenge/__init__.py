"""What DCASE Task 2 says, year by year; nothing here learns, nothing imports torch."""
