"""`python -m convert` run in this process, and folders that transformers itself wrote."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convert.__main__ import cli
from danlu.base.commands import run
from danlu.model.disk import Disk
from danlu.model.families import OURS, to_hf
from danlu.model.shape import ModelConfig
from danlu.tokenizer.tokenizer import Tokenizer
from model_oracle import scatter


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def convert(*words: object) -> Ended:
    """Run a command line to its end."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run(cli, "python -m convert", [str(word) for word in words])
        except SystemExit as leave:
            code = int(leave.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


def done(*words: object) -> Ended:
    """Run a command line that must do its work."""
    ended = convert(*words)
    assert ended.code == 0, ended.err
    return ended


def refused(*words: object) -> str:
    """Run a command line that must be refused in two lines; return them."""
    ended = convert(*words)
    lines = [line for line in ended.err.splitlines() if line]
    assert ended.code == 2 and not ended.out, ended
    assert len(lines) >= 2 and lines[-2].startswith("error: ") and lines[-1].startswith("  try: "), ended.err
    assert "Traceback" not in ended.err and lines[-1] != "  try: "
    return "\n".join(lines[-2:])


def theirs(cfg: ModelConfig, std: float = 0.02, seed: int = 0) -> Any:
    """Return transformers' own model of a shape, with random weights, none of them special."""
    import transformers

    described = {key: value for key, value in to_hf(cfg).items() if key != OURS}
    kind = described.pop("model_type")
    torch.manual_seed(seed)
    settings = transformers.AutoConfig.for_model(kind, **described)
    made = transformers.AutoModelForCausalLM.from_config(settings, attn_implementation="eager").eval()
    made.tie_weights()
    buffers = {key: value for key, value in made.state_dict().items() if value.is_floating_point()}
    scatter({**buffers, **dict(made.named_parameters())}, std, seed)
    return made


def written(folder: Path, made: Any, words: Tokenizer | None = None, **more: Any) -> Path:
    """Let transformers write one of its models; with it the words, if there are some."""
    made.save_pretrained(folder, **more)
    if words:
        words.save(folder)
    return folder


def tensors(path: Path) -> dict[str, Tensor]:
    """Return every tensor that lies in a folder, under the name it has there."""
    disk = Disk(path)
    return {name: disk.get(name) for name in disk}


def once(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without a head that is the embedding once more, as some families' exports have it."""
    head, embedding = state.get("lm_head.weight"), state.get("model.embed_tokens.weight")
    again = head is not None and embedding is not None and same(head, embedding)
    return {name: tensor for name, tensor in state.items() if not (again and name == "lm_head.weight")}


def differences(one: dict[str, Tensor], other: dict[str, Tensor]) -> Iterator[str]:
    """Yield the names of tensors that are not the same on both sides: number format, shape and every bit."""
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other or not same(one[name], other[name]):
            yield name


def same(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    bits = [each.contiguous().view(-1).view(torch.uint8) for each in (one, other)]
    return torch.equal(*bits)


def everything(path: Path) -> set[str]:
    """Return the name of all that is in a folder, hidden files too."""
    return {str(file.relative_to(path)) for file in path.rglob("*")}
