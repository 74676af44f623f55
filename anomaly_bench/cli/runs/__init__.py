"""The verbs that make runs and look after them."""
