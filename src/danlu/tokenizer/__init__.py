"""Floor 1: text to token ids and back, and chats to the text a model reads. Knows no torch."""
