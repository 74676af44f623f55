"""Where a run's numbers and pictures are logged. Imports nothing: the verbs for W&B need no torch."""
