"""Floor 0: configuration, errors, logging and files. Knows no torch."""
