"""Weights from elsewhere and for elsewhere: `python -m convert`."""
