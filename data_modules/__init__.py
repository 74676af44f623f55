"""Files and geometry in, batches of images with masks out; knows no model."""
