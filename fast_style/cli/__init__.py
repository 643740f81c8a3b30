"""The command line: errors, help, progress bars, many runs at once."""
