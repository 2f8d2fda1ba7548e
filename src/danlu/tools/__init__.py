"""Floor 1: tools that a model may call: what they are, reading its calls, running them. Knows no torch."""
