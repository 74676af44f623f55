"""A file to an array."""
