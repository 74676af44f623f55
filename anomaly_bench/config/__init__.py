"""YAML and overrides to a RunConfig."""

SECTIONS = ("localization", "selection")  # keys of the run's own that are in no group
