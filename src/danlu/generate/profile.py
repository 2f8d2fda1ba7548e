"""serve.json: what a server must be started with so that it reads and answers as training did.

    {"architecture": "Qwen3ForCausalLM", "dtype": "bfloat16", "max_model_len": 32768,
     "tool_parser": "hermes", "reasoning_parser": "qwen3", "template_sha256": ..., "stop_token_ids": [2]}

An export carries the file. Weights that were not exported have none: there the same is told from their
config.json and their template, so that a server answers alike before and after.

Our template can write thoughts, but few models learn to. To vLLM's parsers an answer without a thought is
one long thought, so a reasoning parser is named only where thoughts were taught: `thinks`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from danlu.base.errors import UserError
from danlu.tokenizer.speech import reasoning_parser, tool_parser
from danlu.tokenizer.tokenizer import Tokenizer

FILE = "serve.json"
FORMAT = 1


@dataclass(frozen=True)
class Profile:
    """How a model is to be served; its fields are the keys of serve.json."""

    architecture: str
    dtype: str
    max_model_len: int
    tool_parser: str | None = None
    reasoning_parser: str | None = None
    chat_template: str | None = None
    """The file that holds it."""
    template_sha256: str | None = None
    tokenizer: str | None = None
    """Its fingerprint."""
    stop_token_ids: tuple[int, ...] = ()
    vllm_differs: tuple[str, ...] = ()
    """What the vLLM of this release is known not to do as training did."""
    format: int = FORMAT

    def as_dict(self) -> dict[str, Any]:
        """Return what serve.json says."""
        values = {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }
        return {"format": values.pop("format"), **values}


def of(
    words: Tokenizer | None,
    *,
    architecture: str,
    dtype: str,
    max_model_len: int,
    stop_token_ids: Sequence[int],
    provenance: Mapping[str, Any],
    vllm_differs: Sequence[str] = (),
) -> Profile:
    """Return the profile of a model that speaks with these words."""
    template = words.template if words else None
    return Profile(
        architecture=architecture,
        dtype=dtype,
        max_model_len=max_model_len,
        tool_parser=tool_parser(words) if words and template else None,
        reasoning_parser=reasoning_parser(words) if words and template and thinks(provenance) else None,
        chat_template="chat_template.jinja" if template else None,
        template_sha256=fingerprint(template) if template else None,
        tokenizer=words.fingerprint if words else None,
        stop_token_ids=tuple(stop_token_ids),
        vllm_differs=tuple(vllm_differs),
    )


def thinks(provenance: Mapping[str, Any]) -> bool:
    """Return whether a model may have learned to think, by what run.json tells of it and of those before it.

    >>> taught = {"config": {"tag_weight": 10.0, "from": "out/full_sft"}, "from": {"config": {"from": ""}}}
    >>> thinks(taught), thinks(taught["from"]), thinks({})
    (True, False, True)
    """
    told = provenance.get("config")
    if told is None or told.get("tag_weight", 1.0) != 1.0:
        return True  # weights from elsewhere may think
    before = provenance.get("from")
    return thinks(before) if before else bool(told.get("from"))


def fingerprint(template: str) -> str:
    """Return the SHA-256 of a chat template."""
    return hashlib.sha256(template.encode()).hexdigest()


def read(folder: str | Path) -> Profile:
    """Return the profile of a folder of weights: its serve.json, or what its other files tell."""
    file = Path(folder) / FILE
    return _parsed(file) if file.is_file() else _told(Path(folder))


def vllm_options(profile: Profile) -> list[str]:
    """Return vLLM's options for a profile."""
    words = ["--dtype", profile.dtype, "--max-model-len", str(profile.max_model_len)]
    if profile.tool_parser:
        words += ["--enable-auto-tool-choice", "--tool-call-parser", profile.tool_parser]
        words += ["--exclude-tools-when-tool-choice-none"]
    if profile.reasoning_parser:
        words += ["--reasoning-parser", profile.reasoning_parser]
    return words


def _parsed(file: Path) -> Profile:
    mend = "export the weights anew: python -m convert to-hf"
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(told, dict) and told.get("format") not in (None, FORMAT):
            raise UserError(f"{file}: has format {told['format']}, this release reads {FORMAT}", mend)
        return TypeAdapter(Profile).validate_python(told)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        raise UserError(f"{file}: {key}: {fault['msg'].lower()}", mend) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read: {error}", mend) from None


def _told(folder: Path) -> Profile:
    # Torch is imported only where there is no profile to read.
    from danlu.generate.load import check_folder, ends, provenance
    from danlu.model.weights import read_config

    check_folder(folder)
    cfg = read_config(folder)
    words = Tokenizer.load(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architectures = config.get("architectures") or [""]
    return of(
        words,
        architecture=architectures[0],
        dtype=str(config.get("dtype") or config.get("torch_dtype") or "float32"),
        max_model_len=cfg.max_position_embeddings,
        stop_token_ids=sorted(ends(folder, words)),
        provenance=provenance(folder),
    )
