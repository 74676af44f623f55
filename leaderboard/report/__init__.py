"""The leaderboard as one HTML file that opens from disk and asks the network for nothing."""

from leaderboard.report.page import html_report

__all__ = ["html_report"]
