"""What features are worth, on one protocol."""
