"""How subjects learn together or in sequence."""
