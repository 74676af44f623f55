"""Settings sought by trials: a space of keys, a study that several processes share, and the best one as a sweep."""
