"""What we write is read alike by transformers 4.57 and by 5: the same class, logits and ids, nothing missing.

Each runs in its own environment. The older one answers for all folders in one process, for starting it takes
longer than asking it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tokenizer_chats as chats
from danlu.model import weights
from danlu.tokenizer.tokenizer import Tokenizer
from made_once import made_once
from model_shapes import SHAPES, apart, config, model

transformers_reading = pytest.importorskip("transformers_reading")
pytestmark = pytest.mark.transformers4

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 1e-5
BATCHES = [
    # 61 is beyond the original length of the stretched ones, and beyond every window.
    torch.randint(0, 301, (2, T), generator=torch.Generator().manual_seed(T)).tolist()
    for T in (1, 7, 61)
]
OTHERWISE = {
    "gemma2": "its default attention knows no caps on scores; attn_implementation='eager' does",
    "deepseek_v2, groups, narrow queries, yarn": "it does not scale scores by yarn's mscale_all_dim",
}
"""Where 4.57 computes a published architecture otherwise than its authors and all later readers do."""

TEXTS = [
    "",
    "茶叶春天采摘。 Tea is picked in spring.",
    "  two  spaces\n\n\ttabs\r\n",
    "👩‍👩‍👧 <|im_end|> 12345",
]
CHATS = list(chats.CONVERSATIONS.values())


def make(top: Path) -> None:
    """Write every shape, with weights large enough that all they do shows, and ask 4.57 about them."""
    folders = {name: top / str(number) for number, name in enumerate(SHAPES)}
    for name, folder in folders.items():
        cfg = config(name, initializer_range=0.2)
        folder.mkdir()
        weights.save(model(cfg).state_dict(), cfg, folder)
    Tokenizer.load("starter").save(top / "tokenizer")
    models = {name: {"folder": str(folder), "tokens": BATCHES} for name, folder in folders.items()}
    models["gemma2, eager"] = models["gemma2"] | {"attn_implementation": "eager"}
    asked = {"models": models, "tokenizer": str(top / "tokenizer"), "texts": TEXTS, "chats": CHATS}
    (top / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    python = ROOT / ".venv-transformers4/bin/python"
    command = [python, transformers_reading.__file__, top / "asked.json", top / "answer.safetensors"]
    subprocess.run(command, cwd=top, check=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folders."""
    return made_once(tmp_path_factory, "two-transformers", make)


@pytest.fixture(scope="module")
def older(written):
    """What 4.57 answered: (what it told, logits)."""
    told = json.loads((written / "answer.json").read_text(encoding="utf-8"))
    return told, load_file(written / "answer.safetensors")


def test_the_older_one_is_the_older_one(older):
    assert older[0]["transformers"].startswith("4.57.")
    assert transformers_reading.transformers.__version__.startswith("5.")


def differences(logits, name, newer):
    """How far each batch of an older model's logits is from a newer one's."""
    return [
        apart(logits[f"{name}/{n}"], each)
        for n, each in enumerate(transformers_reading.logits(newer, BATCHES))
    ]


@pytest.mark.parametrize("name", SHAPES)
def test_both_read_the_same_model(written, older, name):
    told, logits = older
    made, newer_told = transformers_reading.read(written / str(list(SHAPES).index(name)))
    assert told["models"][name] == newer_told
    assert not newer_told["wrong"]
    assert (max(differences(logits, name, made)) <= LIMIT) == (name not in OTHERWISE), OTHERWISE.get(name)


def test_gemma2_is_the_same_where_scores_are_capped(written, older):
    made, _ = transformers_reading.read(written / str(list(SHAPES).index("gemma2")))
    assert max(differences(older[1], "gemma2, eager", made)) <= LIMIT


def test_the_older_deepseek_v2_leaves_out_what_mscale_does_to_scores(written, older, tmp_path):
    """Its logits are those of 5 once that is taken out of the configuration, and nothing else."""
    name = "deepseek_v2, groups, narrow queries, yarn"
    shutil.copytree(written / str(list(SHAPES).index(name)), tmp_path / "less")
    path = tmp_path / "less/config.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    for section in ("rope_parameters", "rope_scaling"):
        del described[section]["mscale"], described[section]["mscale_all_dim"]
        described[section]["attention_factor"] = 1.0  # which the two, being equal, made it
    path.write_text(json.dumps(described), encoding="utf-8")
    made, _ = transformers_reading.read(path.parent)
    assert max(differences(older[1], name, made)) <= LIMIT


def test_both_read_the_same_tokenizer(written, older):
    newer = transformers_reading.ids(written / "tokenizer", TEXTS, CHATS)
    assert older[0]["tokenizer"] == newer
    assert newer["chats"] and all(newer["chats"])
