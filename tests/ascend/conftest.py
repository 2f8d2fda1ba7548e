"""What the tests on chips share."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpus import texts


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with something to learn from."""
    monkeypatch.chdir(tmp_path)
    texts(Path("corpus.jsonl"), rows=60)
    return tmp_path
