"""AI Farm."""
