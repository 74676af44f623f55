"""What a model and its maps are worth as far as normal images tell: criteria to choose by where nothing is labelled."""
