"""Danlu (丹炉): from a file of text to an aligned, tool-calling model behind an endpoint."""

import os

__version__ = "0.1.0"

# How often a thread looks again before it sleeps, where threads of a product wait for each other. With OpenMP's own
# number two busy processes on the same cores slow each other some fifty times; with this one alone is as fast.
# OpenMP reads it with torch, so it stands before all imports.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
