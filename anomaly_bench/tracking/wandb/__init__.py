"""Weights & Biases: runs, sweeps, dashboards."""
