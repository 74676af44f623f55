"""Which cases are drawn, and how."""
