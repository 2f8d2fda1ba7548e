"""Our reading of MiniMind's files beside MiniMind itself, in a checkout of it that the host has.

    DANLU_MINIMIND=PATH          upstream: generation 3
    DANLU_MINIMIND_ASCEND=PATH   its fork for Ascend: generation 2
    DANLU_MINIMIND_PYTHON=PATH   an interpreter that its trainers can run in (they import `datasets`)

Its models, saving and trainers run in processes of their own, in a copy of the checkout.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import minimind_child
from convert import minimind
from convert.minimind import Hints
from convert.minimind_lora import merge, read_lora
from danlu.model.build import build_empty

CHECKOUTS = {"3": "DANLU_MINIMIND", "2": "DANLU_MINIMIND_ASCEND"}
PYTHON = os.environ.get("DANLU_MINIMIND_PYTHON", sys.executable)
ENVIRONMENT = os.environ | {
    "PYTHONPATH": "",
    "PYTHONDONTWRITEBYTECODE": "1",  # the checkout is only read
    "TOKENIZERS_PARALLELISM": "false",
}
PROMPTS = [[1, 5, 9, 2, 33, 8, 60, 4, 4, 4, 17, 93], [7], list(range(1, 90))]

SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "vocab_size": 101}
SHAPES: dict[str, tuple[str, dict[str, Any], Hints]] = {
    "2": ("2", {}, Hints()),
    "2, other heads": (
        "2",
        {"num_attention_heads": 4, "num_key_value_heads": 1, "intermediate_size": 88, "rms_norm_eps": 1e-4},
        Hints(num_attention_heads=4, norm_eps=1e-4),
    ),
    "2, stretched": ("2", {"inference_rope_scaling": True}, Hints(rope_scaling=True)),
    "2, MoE": ("2", {"use_moe": True}, Hints()),
    "2, MoE, two shared": (
        "2",
        {"use_moe": True, "n_routed_experts": 5, "num_experts_per_tok": 3, "n_shared_experts": 2},
        Hints(num_experts_per_tok=3),
    ),
    "2, MoE, none shared": ("2", {"use_moe": True, "n_shared_experts": 0}, Hints()),
    "2, MoE, one expert alone": (
        "2",
        {"use_moe": True, "num_experts_per_tok": 1},
        Hints(num_experts_per_tok=1),
    ),
    "2, MoE, shares as they are": (
        "2",
        {"use_moe": True, "norm_topk_prob": False},
        Hints(norm_topk_prob=False),
    ),
    "3": ("3", {}, Hints()),
    "3, untied": ("3", {"tie_word_embeddings": False}, Hints()),
    "3, wide heads": (
        "3",
        {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24, "rope_theta": 1e4},
        Hints(rope_theta=1e4),
    ),
    "3, stretched": ("3", {"inference_rope_scaling": True}, Hints(rope_scaling=True)),
    "3, MoE": ("3", {"use_moe": True}, Hints()),
    "3, MoE, two narrow experts": (
        "3",
        {"use_moe": True, "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 40},
        Hints(num_experts_per_tok=2),
    ),
}


def checkout(generation: str) -> Path:
    path = os.environ.get(CHECKOUTS[generation])
    if not path:
        pytest.skip(f"no MiniMind checkout on this host ({CHECKOUTS[generation]})")
    return Path(path)


def theirs(generation: str, *jobs: dict[str, Any]) -> None:
    """Let MiniMind do jobs, each in its own `folder`, where it leaves logits and what was to be saved."""
    path = Path(jobs[0]["folder"]) / "jobs.json"
    path.write_text(json.dumps([job | {"prompts": PROMPTS} for job in jobs], default=str))
    child = [PYTHON, minimind_child.__file__, str(checkout(generation)), str(path)]
    done = subprocess.run(child, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr


def logits(folder: Path, name: str = "logits") -> list[Tensor]:
    return torch.load(folder / f"{name}.pt", weights_only=True)


def apart(found: minimind.Found, wanted: list[Tensor], state: Any = None) -> float:
    """Return how far our logits are from theirs at most."""
    model = build_empty(found.cfg).eval()
    model.load_state_dict(state or found.state)
    with torch.no_grad():
        ours = [model.logits(model(torch.tensor([prompt])).hidden)[0] for prompt in PROMPTS]
    return max(float((our - their).abs().max()) for our, their in zip(ours, wanted))


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what MiniMind made of a shape: a.pth, its checkpoints, an adapter, logits."""
    folders: dict[str, Path] = {}

    def made(name: str) -> Path:
        generation = SHAPES[name][0]
        checkout(generation)
        if name not in folders:
            jobs = []
            for other, (its, changes, _) in SHAPES.items():
                if its == generation:
                    folders[other] = folder = tmp_path_factory.mktemp("theirs")
                    own = {
                        "save": folder / "a.pth",
                        "adapter": folder / "lora.pth",
                        "merged": folder / "m.pth",
                    }
                    jobs.append(own | {"settings": SMALL | changes, "folder": folder, "seed": 5, "rank": 8})
            theirs(generation, *jobs)
        return folders[name]

    return made


@pytest.mark.parametrize("name", SHAPES)
def test_files_of_minimind_are_read_as_minimind_reads_them(name, originals):
    generation, changes, hints = SHAPES[name]
    folder = originals(name)
    moe = "_moe" if changes.get("use_moe") else ""
    for file in ("a.pth", f"full_sft_64{moe}.pth", f"full_sft_64{moe}_resume.pth"):
        found = minimind.read(folder / file, hints)
        assert found.generation == generation
        worst = apart(found, logits(folder))
        assert worst <= 1e-5, (file, worst)


@pytest.mark.parametrize("generation", CHECKOUTS)
def test_what_we_write_minimind_loads_strictly_and_computes_alike(generation, originals, tmp_path):
    jobs = []
    names = [name for name, (its, *_) in SHAPES.items() if its == generation]
    for name in names:
        found = minimind.read(originals(name) / "a.pth", SHAPES[name][2])
        folder = tmp_path / name
        settings = minimind.write(found.state, found.cfg, folder / "b.pth")
        jobs.append({"settings": settings, "folder": folder, "read": folder / "b.pth"})
    theirs(generation, *jobs)
    for name in names:
        for ours, before in zip(logits(tmp_path / name), logits(originals(name))):
            assert torch.equal(ours, before), name
        written = torch.load(tmp_path / name / "b.pth", weights_only=True)
        first = torch.load(originals(name) / "a.pth", weights_only=True)
        assert list(written) == list(first), name
        assert all(torch.equal(written[key], first[key]) for key in first), name


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "3, wide heads"])  # nothing square
def test_adapters_of_minimind_are_read_as_minimind_applies_them(name, originals):
    folder = originals(name)
    found, lora = minimind.read(folder / "a.pth", SHAPES[name][2]), read_lora(folder / "lora.pth")
    wanted = logits(folder, "adapted")
    assert lora.rank == 8
    assert apart(found, wanted) > 0.01
    whole = {name: tensor.float() for name, tensor in found.state.items()}
    worst = apart(found, wanted, merge(whole, lora))
    assert worst <= 1e-5
    if (folder / "m.pth").exists():  # upstream merges too, in half precision
        assert apart(minimind.read(folder / "m.pth", SHAPES[name][2]), wanted) < 0.1


# Its trainers, as a user runs them


def trained(copy: Path, script: str, *words: str) -> None:
    """Run one of its trainers for a few steps on the processor."""
    common = "--device cpu --num_workers 0 --epochs 1 --hidden_size 64 --num_hidden_layers 2 --max_seq_len 48"
    command = [PYTHON, f"{script}.py", *common.split(), "--save_dir", "../out", *words]
    done = subprocess.run(command, cwd=copy / "trainer", capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-3000:]


def copied(generation: str, folder: Path) -> Path:
    """Return a copy of the checkout with a little data, so that the checkout itself is left alone."""
    if subprocess.run([PYTHON, "-c", "import datasets"], capture_output=True).returncode:
        pytest.skip(
            "nothing to run MiniMind's trainers with on this host (DANLU_MINIMIND_PYTHON: no `datasets`)"
        )
    copy = folder / "minimind"
    ignore = shutil.ignore_patterns(".git", "images", "*.jsonl", "docs", "out", "checkpoints")
    shutil.copytree(checkout(generation), copy, ignore=ignore)
    texts = [{"text": f"<|im_start|>the number {n} follows {n - 1}<|im_end|>"} for n in range(1, 9)]
    chats = [
        [{"role": "user", "content": f"what follows {n}?"}, {"role": "assistant", "content": f"{n + 1}"}]
        for n in range(8)
    ]
    for name, rows in (("texts", texts), ("chats", [{"conversations": chat} for chat in chats])):
        lines = "\n".join(json.dumps(row) for row in rows)
        (copy / "dataset" / f"{name}.jsonl").write_text(lines + "\n")
    return copy


@pytest.mark.parametrize("moe", ["0", "1"])
@pytest.mark.parametrize("generation", CHECKOUTS)
def test_what_its_trainers_leave_behind_is_read(generation, moe, tmp_path):
    checkout(generation)
    copy = copied(generation, tmp_path)
    kind, data = ("--use_moe", moe, "--batch_size", "2"), ("--data_path", "../dataset/chats.jsonl")
    trained(copy, "train_pretrain", *kind, "--data_path", "../dataset/texts.jsonl")
    trained(copy, "train_full_sft", *kind, *data)
    rate = ("--learning_rate", "1e-2", "--lora_name", "lora_x")
    trained(copy, "train_lora", *kind, *data, *rate)

    end = "_64_moe" if moe == "1" else "_64"
    own = {"settings": {"hidden_size": 64, "num_hidden_layers": 2, "use_moe": moe == "1"}, "rank": 16}
    folders = {stage: tmp_path / stage for stage in ("pretrain", "full_sft")}
    jobs = [
        own | {"folder": folder, "read": copy / "out" / f"{stage}{end}.pth"}
        for stage, folder in folders.items()
    ]
    for folder in folders.values():
        folder.mkdir()
    adapter = next((copy / "out").glob("lora_x_64*.pth"))
    lora = read_lora(adapter)
    jobs[1] |= {"adapter": adapter, "rank": lora.rank}
    theirs(generation, *jobs)
    for stage, folder in folders.items():
        for file in (f"out/{stage}{end}", f"checkpoints/{stage}{end}", f"checkpoints/{stage}{end}_resume"):
            worst = apart(minimind.read(copy / f"{file}.pth"), logits(folder))
            assert worst <= 1e-5, (file, worst)

    found = minimind.read(copy / "out" / f"full_sft{end}.pth")
    wanted = logits(folders["full_sft"], "adapted")
    assert apart(found, wanted) > 1e-3
    whole = {name: tensor.float() for name, tensor in found.state.items()}
    worst = apart(found, wanted, merge(whole, lora))
    assert worst <= 1e-5
    both = minimind.read(copy / "checkpoints" / f"lora_x{end}_resume.pth")
    assert both.lora and both.lora.rank == lora.rank
