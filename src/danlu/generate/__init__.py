"""Floor 3: one model, one cache, many prompts. Knows no rewards and no HTTP."""
