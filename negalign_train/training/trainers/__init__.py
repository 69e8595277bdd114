"""One level over TRL's trainers."""
