"""What a transformers makes of folders we wrote: imported here, a script for the Python of another version.

    python transformers_reading.py ASKED.json ANSWERED.safetensors

ASKED is {"models": {name: {"folder": ..., "tokens": [[[id, ...], ...], ...], more for from_pretrained}},
"tokenizer": folder or null, "tokenizers": {name: folder}, "texts": [text, ...], "chats": [[messages, tools or
null], ...]}. Beside the logits, ANSWERED.json is written: what loading each model told, and the ids of the
texts and chats. It needs torch, safetensors and transformers, and nothing of ours.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

WRONG = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")


def read(folder: str | Path, **more: Any) -> tuple[transformers.PreTrainedModel, dict[str, Any]]:
    """Return the model of a folder in fp32, and what was said about it."""
    made, told = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **more)
    wrong = {key: sorted(map(str, told[key])) for key in WRONG if told.get(key)}
    return made.float().eval(), {"class": type(made).__name__, "wrong": wrong}


@torch.no_grad()
def logits(made: transformers.PreTrainedModel, batches: list[list[list[int]]]) -> list[torch.Tensor]:
    """Return the logits of every batch of tokens."""
    return [made(torch.tensor(batch)).logits for batch in batches]


def ids(folder: str | Path, texts: list[str], chats: list[tuple[Any, Any]]) -> dict[str, Any]:
    """Return the ids of texts and of chats, by the tokenizer of a folder."""
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    return {
        "texts": [theirs(text)["input_ids"] for text in texts],
        "decoded": [theirs.decode(theirs(text)["input_ids"]) for text in texts],
        "chats": [
            theirs.apply_chat_template(messages, tools=tools, tokenize=True, return_dict=False)
            for messages, tools in chats
        ],
        "control": [theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id, len(theirs)],
    }


def main(asked: str, answered: str) -> None:
    wanted = json.loads(Path(asked).read_text(encoding="utf-8"))
    tensors, told = {}, {"transformers": transformers.__version__, "models": {}}
    for name, model in wanted["models"].items():
        batches = model.pop("tokens")
        try:
            made, told["models"][name] = read(**model)
            found = logits(made, batches)
        except Exception as error:
            told["models"][name] = {"error": f"{type(error).__name__}: {error}"}
            continue
        tensors |= {f"{name}/{number}": each.contiguous() for number, each in enumerate(found)}
    if wanted.get("tokenizer"):
        told["tokenizer"] = ids(wanted["tokenizer"], wanted["texts"], wanted["chats"])
    told["tokenizers"] = {
        name: ids(folder, wanted["texts"], wanted["chats"])
        for name, folder in wanted.get("tokenizers", {}).items()
    }
    save_file(tensors, answered)
    Path(answered).with_suffix(".json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
