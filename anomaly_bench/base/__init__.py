"""What every room may use: errors, files, progress. Imports no torch."""
