"""Checkpoints: dictionaries of tensors in folders that are either whole or absent."""
