"""The verbs that read results, and the one that scores maps of others."""
