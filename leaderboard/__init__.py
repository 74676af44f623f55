"""Run results in; tables and verdicts out. Imports no torch."""
