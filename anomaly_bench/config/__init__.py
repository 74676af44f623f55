"""YAML and overrides to a RunConfig."""
