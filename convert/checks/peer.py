"""transformers, which judges what is exported: offline, quiet, and never with code of the model's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from convert.checks.case import CannotCheck
from convert.reading import read_json
from danlu.base.errors import UserError


def transformers() -> Any:
    """Return the library, or say how to come by it."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        import transformers as library
    except ImportError:
        hint = "bash run_all.sh setup --extra convert; or --check none, unproven"
        raise CannotCheck("the check needs transformers, which is not installed", hint) from None
    library.utils.logging.disable_progress_bar()
    return library


def load_peer(folder: Path, dtype: torch.dtype) -> tuple[Any, dict[str, list[str]]]:
    """Return transformers' own model of a folder, and which tensors it missed, or found too many."""
    # The plain one caps scores in every version; Falcon's adds its slopes twice there.
    plain = read_json(folder / "config.json").get("model_type") != "falcon"
    keys: dict[str, Any] = {"attn_implementation": "eager" if plain else "sdpa", "trust_remote_code": False}
    keys |= {"local_files_only": True, "output_loading_info": True, "dtype": dtype}
    with refusals(folder):
        model, told = transformers().AutoModelForCausalLM.from_pretrained(folder, **keys)
    kinds = ("missing", "unexpected", "mismatched")
    names = {kind: sorted(map(str, told.get(f"{kind}_keys") or [])) for kind in kinds}
    return model.eval().requires_grad_(False), names


def load_words(folder: Path) -> Any:
    """Return transformers' own tokenizer of a folder."""
    with refusals(folder):
        return transformers().AutoTokenizer.from_pretrained(folder, local_files_only=True)


@contextlib.contextmanager
def refusals(folder: Path) -> Iterator[None]:
    """Say what transformers raises, be it what it may, as what is wrong with a folder."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        problem = f"{folder}: transformers cannot load it: {type(error).__name__}: {lines[0]}"
        raise UserError(problem, "write it anew") from None
