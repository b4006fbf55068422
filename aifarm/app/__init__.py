"""The Farm facade: the single writer, what it needs from outside, scopes and errors."""
