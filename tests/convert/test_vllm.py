"""A real vLLM answers what our decoder answers: the same greedy tokens, the same log-probabilities."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import vllm_answers as answers
from convert import vllm_side
from convert.served import LIMITS, SERVED, limits
from convert.vllm_side import Job, ask, find_python
from danlu.base.errors import UserError
from danlu.model.families import choose
from made_once import made_once
from model_shapes import SHAPES

LIMIT = 1e-4
NEXT = 16
QUICK = ["qwen3", "qwen3_moe", "qwen2_moe from an ungated shared expert"]
PROMPTS = answers.random_prompts(5, 23, 48)

LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1 + 0.1 * n for n in range(16)],
    "long_factor": [2.0 + n for n in range(16)],
}
# What our shapes have that vLLM cannot, taken away: the rest of them must agree.
WITHIN = {
    "qwen3 with biases, untied": {"qkv_bias": False, "output_bias": False},
    "qwen2, windows in the last layers": {"layer_types": ()},
    "gemma, biases, untied": {"qkv_bias": False, "output_bias": False},
    "llama, dynamic": {"max_position_embeddings": 128},
    "llama, longrope": {"rope_scaling": LONGROPE | {"original_max_position_embeddings": 128}},
    "phi3, longrope": {"rope_scaling": LONGROPE | {"original_max_position_embeddings": 128}},
}


def within(name: str) -> dict:
    """What to change about a shape, so that vLLM can do all of it."""
    untied = name.startswith(("deepseek_v2", "deepseek_v3", "glm4_moe", "olmoe"))
    return WITHIN.get(name, {}) | ({"tie_word_embeddings": False} if untied else {})


GRID = [name for name in SHAPES if not name.startswith("gpt_neo") or name.startswith("gpt_neox")]
# One model for each limit of convert/served.py.
BEYOND = {
    "glm4_moe": {"tie_word_embeddings": True},
    "qwen3 with biases, untied": {},
    "gemma, biases, untied": {},
    "llama, longrope": {"rope_scaling": LONGROPE | {"original_max_position_embeddings": 32}},
    "llama, dynamic": {"max_position_embeddings": 32},
    "qwen2, windows in the last layers": {},
    "gemma2": {"tie_word_embeddings": False},
    "falcon, groups": {"intermediate_size": 112},
}


def asked(factory: pytest.TempPathFactory, place: str, shapes: dict[str, dict]) -> dict:
    """Write these models, ask vLLM about all of them in one process, and return (folder, what it said)."""

    def make(top: Path) -> None:
        folders = [answers.write(answers.shaped(name, **more), top / name) for name, more in shapes.items()]
        said = vllm_side.replies([Job(folder, PROMPTS, max_tokens=NEXT) for folder in folders])
        (top / "said.json").write_text(json.dumps(said), encoding="utf-8")

    top = made_once(factory, place, make)
    said = json.loads((top / "said.json").read_text(encoding="utf-8"))
    return {name: (top / name, each) for name, each in zip(shapes, said)}


def check(folder: Path, said) -> None:
    assert "error" not in said, said
    answer, ours = vllm_side.Answer(**said), answers.own(folder, PROMPTS, NEXT)
    assert answer.tokens == ours.tokens
    assert answers.furthest(answer, ours) <= LIMIT


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return asked(tmp_path_factory, "vllm-quick", dict.fromkeys(QUICK, {}))


@pytest.mark.vllm
@pytest.mark.parametrize("name", QUICK)
def test_our_own_architectures_answer_alike(quick, name):
    check(*quick[name])


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return asked(tmp_path_factory, "vllm-grid", {name: within(name) for name in GRID})


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.parametrize("name", GRID)
def test_what_it_serves_answers_alike(grid, name):
    check(*grid[name])


def known(cfg):
    """What is known of the family a model leaves as."""
    return limits(choose(cfg).model_type, cfg)


def test_the_grid_is_within_what_is_known_and_leaves_out_only_what_is_not_served():
    for name in GRID:
        cfg = answers.shaped(name, **within(name))
        stretched = "longrope" in name or "dynamic" in name
        silent = [limit.words for limit in known(cfg) if not stretched]
        assert not silent, name
    left_out = {choose(answers.shaped(name)).model_type for name in SHAPES if name not in GRID}
    assert left_out == {name for name, row in SERVED.items() if row.vllm == "no" and row.leaves_as == name}


@pytest.fixture(scope="module")
def beyond(tmp_path_factory):
    return asked(tmp_path_factory, "vllm-beyond", BEYOND)


def test_every_limit_has_its_model():
    found = [limit for name, more in BEYOND.items() for limit in known(answers.shaped(name, **more))]
    assert set(found) == set(LIMITS)


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.parametrize("name", BEYOND)
def test_limits_are_what_the_table_says(beyond, name):
    """When a newer vLLM does better, this fails, and the limit may go."""
    folder, said = beyond[name]
    (limit,) = known(answers.shaped(name, **BEYOND[name]))
    assert ("error" in said) == limit.says_so, said
    if not limit.says_so:
        ours = answers.own(folder, PROMPTS, 1)
        assert answers.furthest(vllm_side.Answer(**said), ours) > 100 * LIMIT


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.parametrize("name", ["qwen3", "llama"])
def test_an_adapter_answers_like_the_merged_model(name, tmp_path):
    folder = answers.write(answers.shaped(name), tmp_path / "base")
    adapter, merged = answers.adapted(folder, tmp_path)
    base, served, whole = ask(
        [
            Job(folder, PROMPTS, NEXT),
            Job(folder, PROMPTS, NEXT, adapter=adapter),
            Job(merged, PROMPTS, NEXT),
        ]
    )
    assert served.tokens == whole.tokens != base.tokens
    ours = answers.own(merged, PROMPTS, NEXT)
    assert max(answers.furthest(each, ours) for each in (served, whole)) <= LIMIT


def test_without_vllm_it_is_said_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.delenv("DANLU_VLLM_PYTHON", raising=False)
    monkeypatch.setattr(vllm_side, "CLONE", tmp_path)
    assert find_python() is None
    with pytest.raises(UserError, match="vLLM is not installed here") as error:
        ask([Job(tmp_path, [[1]])])
    assert "setup --with vllm" in error.value.hint


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo some words; exit 3", "vLLM ended with 3. Its last words:\nsome words"),
        (
            """printf '{"error": "ValueError: no such\\\\nthing"}\\n' > "$2\"""",
            "vLLM cannot serve this: ValueError: no such thing",
        ),
    ],
    ids=["died", "refused"],
)
def test_what_goes_wrong_in_there_is_told(script, says, monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setenv("DANLU_VLLM_PYTHON", str(python))
    with pytest.raises(UserError) as error:
        ask([Job(tmp_path, [[1]])])
    assert says in error.value.problem and error.value.hint


def test_the_python_that_is_named_is_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("DANLU_VLLM_PYTHON", str(tmp_path / "none"))
    assert find_python() == tmp_path / "none"
    with pytest.raises(UserError, match="cannot be run: No such file"):
        ask([Job(tmp_path, [[1]])])
