"""What every API process does beside answering requests."""
