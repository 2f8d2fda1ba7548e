"""Floor 2: from files of rows to batches of token ids, in an order that can be resumed. Knows no model."""
