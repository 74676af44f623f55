"""The YAML options of the config groups, and a dataset's config made of one."""
