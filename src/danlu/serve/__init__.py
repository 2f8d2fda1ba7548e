"""Floor 5: OpenAI's API over one engine. Knows HTTP; knows nothing of training."""
