"""File formats of exported networks, one file a format. This module imports nothing, so that runtimes start fast."""
