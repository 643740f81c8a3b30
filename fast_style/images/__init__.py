"""Images in and out: file, array, tensor. Empty, so that it starts without torch."""
