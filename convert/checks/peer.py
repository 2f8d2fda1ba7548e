"""transformers, which judges what is exported: offline, quiet, and never with code of the model's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from danlu.base.errors import UserError


def transformers() -> Any:
    """Return the library, or say how to come by it."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        import transformers as library
    except ImportError:
        hint = "bash run_all.sh setup --extra convert; or --check none, unproven"
        raise UserError("the check needs transformers, which is not installed", hint) from None
    library.utils.logging.disable_progress_bar()
    return library


def load_peer(folder: Path, dtype: torch.dtype) -> tuple[Any, dict[str, list[str]]]:
    """Return transformers' own model of a folder, and which tensors it missed, or found too many."""
    keys: dict[str, Any] = {"attn_implementation": "eager", "trust_remote_code": False}
    keys |= {"local_files_only": True, "output_loading_info": True, "dtype": dtype}
    model, told = transformers().AutoModelForCausalLM.from_pretrained(folder, **keys)
    kinds = ("missing", "unexpected", "mismatched")
    names = {kind: sorted(map(str, told.get(f"{kind}_keys") or [])) for kind in kinds}
    return model.eval().requires_grad_(False), names
