"""Figures for papers: curves over beta, time against quality, claims by dataset, ranks by dataset, critical differences."""
