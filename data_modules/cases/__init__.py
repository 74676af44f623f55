"""File names to subjects to splits."""
