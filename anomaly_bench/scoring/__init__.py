"""How well maps localize that some other program made."""
