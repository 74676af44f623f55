"""A scan to slices."""
