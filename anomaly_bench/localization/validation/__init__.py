"""What is learned and chosen on validation images: calibration, how maps are finished, members of a searched ensemble."""
