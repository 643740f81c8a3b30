"""Photos packed into tar files, local or at any URL."""
