"""Over how many devices a model is split: the most that divide it, and which number stood in the way."""

from __future__ import annotations

import pytest

from danlu.base.errors import UserError
from danlu.serve.vllm.degree import degree
from danlu.serve.vllm.model import read
from serve.vllm.exports import MOE, export

# heads, key and value heads, experts, an inner width; devices; the size, and what is said
CASES = [
    (8, 8, 0, 1024, 1, 1, ""),
    (8, 8, 0, 1024, 8, 8, "8 devices share the model"),
    (
        8,
        2,
        0,
        1024,
        4,
        4,
        "4 devices share the model",
    ),  # fewer heads for keys than devices: each several times
    (8, 1, 0, 1024, 8, 8, "8 devices share the model"),
    (12, 12, 0, 1536, 8, 6, "6 of 8 devices: 12 heads do not divide by 8"),
    (14, 2, 0, 4864, 8, 2, "2 of 8 devices: 14 heads do not divide by 8"),
    (7, 7, 0, 1024, 4, 1, "1 of 4 devices: 7 heads do not divide by 4"),
    (12, 6, 0, 1536, 4, 3, "3 of 4 devices: 6 key and value heads and 4 devices do not divide"),
    (16, 16, 6, 1024, 4, 2, "2 of 4 devices: 6 experts do not divide by 4"),
    (16, 16, 0, 1026, 4, 2, "2 of 4 devices: 1026 columns of intermediate_size do not divide by 4"),
    (16, 16, 60, 1408, 8, 4, "4 of 8 devices: 60 experts do not divide by 8"),
]


@pytest.fixture
def model(tmp_path):
    def made(heads: int, kv_heads: int, experts: int, width: int):
        keys = {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "intermediate_size": width}
        return read(export(tmp_path / "x-hf", **keys, **({"num_experts": experts} if experts else {})))

    return made


@pytest.mark.parametrize(("heads", "kv", "experts", "width", "devices", "size", "says"), CASES)
def test_the_largest_number_that_divides_all_parts_is_taken(
    model, heads, kv, experts, width, devices, size, says
):
    found = degree(model(heads, kv, experts, width), devices)
    assert found == (size, says)
    for part in (heads, experts, width):
        assert part % found.size == 0
    assert kv % found.size == 0 or found.size % kv == 0


def test_what_is_asked_for_is_taken_if_it_divides(model):
    assert degree(model(12, 12, 0, 1536), 8, asked=4).size == 4


@pytest.mark.parametrize(
    ("asked", "problem", "hint"),
    [
        (8, "--tp 8: 12 heads do not divide by 8", "--tp 1 or 2 or 3 or 4 or 6"),
        (9, "--tp 9: 8 devices chosen", "--tp 1 or 2 or 3 or 4 or 6"),
    ],
)
def test_what_does_not_divide_is_refused_with_what_does(model, asked, problem, hint):
    with pytest.raises(UserError) as error:
        degree(model(12, 12, 0, 1536), 8, asked=asked)
    assert (error.value.problem, error.value.hint) == (problem, hint)


def test_experts_of_a_mixture_are_found_under_each_family_s_name(tmp_path):
    for name in ("num_experts", "num_local_experts", "n_routed_experts"):
        config = MOE | {"num_experts": None, name: 4}
        assert read(export(tmp_path / name, **config)).experts == 4
