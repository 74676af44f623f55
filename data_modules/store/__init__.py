"""Decoded slices on disk, and batches of them."""
