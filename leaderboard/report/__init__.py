"""The leaderboard as one HTML file that opens from disk and asks the network for nothing."""

from .page import html_report

__all__ = ["html_report"]
