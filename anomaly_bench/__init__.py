"""Benchmark of unsupervised anomaly localization with VAEs and beta-VAEs (Zhou, Deng, Wu 2020, arXiv 2005.10686)."""
