"""Floor 1: text of our own, written by grammars: what the starter tokenizer learns, and starter data sets."""
