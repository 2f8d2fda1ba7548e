"""Floor 2: one decoder, dense or mixture of experts, under Hugging Face's names. Knows no ranks, no data."""
