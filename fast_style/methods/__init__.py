"""The ways to learn a style, siblings of one another, and the callbacks beside them."""
