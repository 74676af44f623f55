"""A folder of runs to arrays."""
