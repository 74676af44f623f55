"""What a board shows as sheets: tables of texts with marks, which every output sets."""
