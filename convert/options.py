"""Options that several commands have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import torch

from danlu.base.errors import UserError

CHECKS = ("logits", "vllm", "tensors", "none")
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
WORDLESS = "it comes without its words: --tokenizer FOLDER, or tokenizer= when it is trained"
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 1 << 10, "MI": 1 << 20, "GI": 1 << 30}

out = click.option("--out", required=True, type=click.Path(path_type=Path), help="Where it appears, whole.")
check = click.option(
    "--check",
    type=click.Choice(CHECKS),
    default="logits",
    show_default=True,
    help="logits: every bit, every field, the template, and answers beside transformers'. vllm: and vLLM's."
    " tensors: bits and fields alone. none: nothing.",
)
brought_check = click.option(
    "--check",
    type=click.Choice([one for one in CHECKS if one != "vllm"]),
    default="logits",
    show_default=True,
    help="logits: every bit, and answers beside transformers'. tensors: the bits. none: nothing.",
)
adapter = click.option(
    "--adapter", type=click.Path(path_type=Path), help="A folder with a LoRA adapter of PEFT's, to be merged."
)
tokenizer = click.option(
    "--tokenizer",
    type=click.Path(path_type=Path),
    help="A folder with the tokenizer.json of what has none that is read.",
)
arch = click.option(
    "--arch", default="auto", show_default=True, help="An architecture; auto: the best exact one."
)


def size(text: str) -> int:
    """Return bytes.

    >>> size("5GB"), size("200 MB"), size("1GiB")
    (5000000000, 200000000, 1073741824)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?)?B?", text.strip().upper())
    if not found or not (bytes_ := int(float(found[1]) * UNITS[found[2] or ""])):
        raise UserError(f"--shard-size: '{text}' is no size", "--shard-size 5GB")
    return bytes_


shard_size = click.option(
    "--shard-size",
    default="5GB",
    show_default=True,
    callback=lambda context, option, text: size(text),
    help="Largest file of weights.",
)


def dtype_option(**keys: Any) -> Any:
    """Return the option that names a number format."""
    return click.option("--dtype", type=click.Choice(list(DTYPES)), **keys)
