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


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder for each shape, with weights large enough that everything they do shows, and the tokenizer."""
    top = tmp_path_factory.mktemp("written")
    for number, name in enumerate(SHAPES):
        cfg = config(name, initializer_range=0.2)
        (top / str(number)).mkdir()
        weights.save(model(cfg).state_dict(), cfg, top / str(number))
    Tokenizer.load("starter").save(top / "tokenizer")
    return top


@pytest.fixture(scope="module")
def older(written):
    """What transformers 4.57 answered: (what it told, logits)."""
    asked = {
        "models": {
            name: {"folder": str(written / str(number)), "tokens": BATCHES}
            for number, name in enumerate(SHAPES)
        }
        | {
            "gemma2, eager": {
                "folder": str(written / str(list(SHAPES).index("gemma2"))),
                "tokens": BATCHES,
                "attn_implementation": "eager",
            }
        },
        "tokenizer": str(written / "tokenizer"),
        "texts": TEXTS,
        "chats": CHATS,
    }
    (written / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    python = ROOT / ".venv-transformers4/bin/python"
    script = transformers_reading.__file__
    answer = written / "answer.safetensors"
    done = subprocess.run(
        [python, script, written / "asked.json", answer], capture_output=True, text=True, cwd=written
    )
    assert done.returncode == 0, done.stderr
    return json.loads(answer.with_suffix(".json").read_text(encoding="utf-8")), load_file(answer)


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
