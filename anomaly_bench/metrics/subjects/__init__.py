"""Metrics per subject, and what they say about others."""
