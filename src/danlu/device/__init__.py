"""Floor 1: the accelerators. Vendor words live here and nowhere above."""
