"""Using a learned style."""
