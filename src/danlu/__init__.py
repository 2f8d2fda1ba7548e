"""Danlu (丹炉): from a file of text to an aligned, tool-calling model behind an endpoint."""

__version__ = "0.1.0"
