"""Which datasets there are, and how to get them."""
