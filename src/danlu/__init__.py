"""Danlu (丹炉): from a file of text to an aligned, tool-calling model behind an endpoint."""

import os

__version__ = "0.1.0"

# How often a waiting thread looks again before it sleeps. OpenMP's own number lets two busy processes
# on the same cores slow each other some fifty times; with this one each is as fast alone. It is read
# when torch is loaded, so it is set before all imports.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
