"""Photos packed into tar files, on this machine or behind any URL."""
