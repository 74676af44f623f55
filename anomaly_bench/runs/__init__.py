"""One run: seed, data, model, fit, localize, record."""
