"""Downloads to be brought in, for the tests of this folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import exports
from conversions import theirs, written


@pytest.fixture(scope="session")
def shelf(tmp_path_factory) -> Path:
    """Models as transformers writes them, with the starter's words, made once."""
    top = tmp_path_factory.mktemp("shelf")
    for name in ("llama", "qwen3_moe"):
        written(top / name, theirs(exports.speaking(name)), exports.WORDS)
    return top


@pytest.fixture
def folder(shelf, tmp_path, monkeypatch) -> Path:
    """An empty place to work in, with a download of a Llama in `theirs`."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shelf / "llama", tmp_path / "theirs")
    return tmp_path
