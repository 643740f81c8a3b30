"""Photos packed into tar files."""
