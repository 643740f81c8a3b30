"""Where the program meets a person: errors, progress bars, many runs at once."""
