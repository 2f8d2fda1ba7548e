"""What llama.cpp's own converter makes of our exports, in a checkout of it that the host has.

DANLU_LLAMA_CPP=PATH          a checkout of llama.cpp
DANLU_LLAMA_CPP_PYTHON=PATH   an interpreter with what its converter imports, where this one lacks it
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

import exports
from conversions import done, everything, refused, tensors
from danlu.model.config import read_hf

CHECKOUT = os.environ.get("DANLU_LLAMA_CPP", "")
here = pytest.mark.skipif(not CHECKOUT, reason="no llama.cpp checkout on this host")


@pytest.fixture(params=["qwen3", "llama", "llama, yarn"])
def export(request, tmp_path) -> Path:
    source = exports.finished(tmp_path / "ours", exports.speaking(request.param))
    return exports.exported(source, tmp_path / "hf", torch.float32)


def turned(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Return rows of queries or keys as llama.cpp's Llama has them: the halves of a head interleaved."""
    return tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(tensor.shape)


NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "model.layers": "blk",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def theirs(name: str) -> str:
    for ours, other in NAMES.items():
        name = name.replace(ours, other)
    return name


@here
def test_every_tensor_and_every_word_is_ours(export, tmp_path, monkeypatch):
    done("gguf", export, "--llama-cpp", CHECKOUT, "--out", tmp_path / "a.gguf", "--outtype", "f32")
    monkeypatch.setattr(sys, "path", [f"{CHECKOUT}/gguf-py", *sys.path])
    from gguf import GGUFReader

    reader = GGUFReader(tmp_path / "a.gguf")
    found = {one.name: torch.from_numpy(one.data.copy()) for one in reader.tensors}
    cfg = read_hf(export)
    wanted = {theirs(name): tensor for name, tensor in tensors(export).items()}
    if reader.fields["general.architecture"].contents() == "llama":
        for name in wanted:
            if "attn_q." in name or "attn_k." in name:
                heads = cfg.num_attention_heads if "attn_q." in name else cfg.num_key_value_heads
                wanted[name] = turned(wanted[name], heads)
    assert found.keys() - wanted.keys() <= {"rope_freqs.weight"} and wanted.keys() <= found.keys()
    assert all(torch.equal(found[name].view(wanted[name].shape), wanted[name]) for name in wanted)
    assert reader.fields["tokenizer.ggml.pre"].contents() == "qwen2"
    assert len(reader.fields["tokenizer.ggml.tokens"].contents()) == exports.WORDS.size
    assert reader.fields["tokenizer.ggml.eos_token_id"].contents() == exports.WORDS.eos_id
    assert reader.fields["tokenizer.chat_template"].contents() == exports.WORDS.template


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none", "--llama-cpp", "lcp"], "none: no such folder"),
        (["ours", "--llama-cpp", "nowhere"], "there is no convert_hf_to_gguf.py in it"),
        (["ours"], "--llama-cpp"),
        (["ours", "--llama-cpp", "lcp", "--out", "lcp"], "is a folder"),
        (["ours", "--llama-cpp", "lcp"], "converter ended with 3"),
    ],
)
def test_what_does_not_work_is_refused_and_leaves_nothing(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DANLU_LLAMA_CPP", raising=False)
    monkeypatch.delenv("DANLU_LLAMA_CPP_PYTHON", raising=False)
    exports.finished(Path("ours"), exports.speaking("qwen3"))
    Path("lcp").mkdir()
    Path("lcp/convert_hf_to_gguf.py").write_text("raise SystemExit(3)")
    before = everything(tmp_path)
    assert said in refused("gguf", *words, *([] if "--out" in words else ["--out", "a.gguf"]))
    assert everything(tmp_path) == before
