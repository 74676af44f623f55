"""Contracts, names and files that every room uses."""
