"""What results say: claims, and whether a baseline is met."""
