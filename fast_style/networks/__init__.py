"""The networks: what paints, and what the losses look through."""
