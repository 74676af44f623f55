"""What is counted of maps: scores of normal and anomalous pixels, of images, of what surrounds an anomaly; and its tables."""
