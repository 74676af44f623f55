"""Runs to the rows of tables."""
