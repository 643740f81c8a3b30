"""Who executes a network. Empty, so that it starts without torch."""
