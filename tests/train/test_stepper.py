"""One rank and one piece is the oracle: no cut of the work changes what a step does."""

import pytest
import torch

from curves import Cut, curve, ranked
from danlu.device import api

MODELS = {"dense": {}, "untied": {"tied": False}, "moe": {"moe": "sequence"}, "bias": {"moe": "bias"}}
OPTIMS = {name: {"moe": "sequence", "optim": {"name": name}} for name in ("muon", "adamw_bf16")}
KINDS = MODELS | OPTIMS

# What two ranks do: every model and optimiser under both wrappers, and recomputing.
TWO = {f"{kind} {data}": (kind, {"data": data, "pieces": 2}) for kind in KINDS for data in ("ddp", "fsdp")}
TWO |= {f"{kind} fsdp measured": (kind, {"data": "fsdp", "validate": True}) for kind in ("dense", "untied")}
TWO |= {
    f"{kind} {data} recomputed": (kind, {"data": data, "recompute": True})
    for kind in ("dense", "moe")
    for data in ("ddp", "fsdp")
}


def same(found, expected):
    """Compare whole curves; what only the oracle measured is left out."""
    for step, oracle in zip(found, expected, strict=True):
        assert step == pytest.approx({key: oracle[key] for key in oracle if key in step}, rel=1e-5, abs=1e-7)


@pytest.fixture(scope="module")
def oracle():
    return {kind: curve(Cut(validate=True, **keys)) for kind, keys in KINDS.items()}


@pytest.fixture(scope="module")
def two_ranks():
    return ranked(2, {name: Cut(**KINDS[kind], **keys) for name, (kind, keys) in TWO.items()})


@pytest.mark.parametrize("kind", KINDS)
def test_the_oracle_learns(oracle, kind):
    found = oracle[kind]
    assert found[-1]["loss"] < found[0]["loss"]
    assert found[0]["grad_norm"] > 0.5  # so that clipping is part of what is compared
    assert found[0]["tokens"] == 8 * 12 - 3 * 2  # rows 1, 4 and 7 end in padding


@pytest.mark.parametrize("pieces", [2, 4, 8])
@pytest.mark.parametrize("kind", MODELS)
def test_accumulation_changes_nothing(oracle, pieces, kind):
    same(curve(Cut(pieces=pieces, **KINDS[kind])), oracle[kind])


@pytest.mark.parametrize("name", TWO)
def test_two_ranks_change_nothing(oracle, two_ranks, name):
    same(two_ranks[name], oracle[TWO[name][0]])


@pytest.mark.parametrize("kind", ["dense", "moe"])
def test_recomputing_changes_nothing(oracle, kind):
    same(curve(Cut(recompute=True, **KINDS[kind])), oracle[kind])


def test_three_ranks_with_uneven_shares_change_nothing(oracle):
    found = ranked(3, {data: Cut(data=data, moe="sequence") for data in ("ddp", "fsdp")})
    same(found["ddp"], oracle["moe"])
    same(found["fsdp"], oracle["moe"])


def test_groups_of_shards_change_nothing(oracle):
    found = ranked(4, {kind: Cut(data="fsdp", shard=2, pieces=2, **KINDS[kind]) for kind in ("moe", "muon")})
    same(found["moe"], oracle["moe"])
    same(found["muon"], oracle["muon"])


COMPILER = pytest.mark.skipif(bool(api.choose("cpu").why_no_compile()), reason="no C++ compiler")


@COMPILER
def test_compiling_changes_nothing(oracle):
    torch._dynamo.utils.counters.clear()
    same(curve(Cut(compile=True, recompute=True, pieces=2)), oracle["dense"])
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] == 1  # one program serves all blocks
    assert not counters["graph_break"]


@COMPILER
@pytest.mark.slow
@pytest.mark.parametrize("data", ["ddp", "fsdp"])
def test_compiling_under_ranks_changes_nothing(oracle, data):
    cuts = {kind: Cut(data=data, compile=True, pieces=2, **KINDS[kind]) for kind in ("dense", "moe")}
    for kind, found in ranked(2, cuts).items():
        same(found, oracle[kind])


def test_half_precision_is_near_under_every_wrapper(oracle):
    cuts = {
        f"{data} {dtype}": Cut(data=data, moe="sequence", dtype=dtype)
        for data in ("ddp", "fsdp")
        for dtype in (torch.bfloat16, torch.float16)
    }
    for found in ranked(2, cuts).values():
        losses = [[step["loss"] for step in steps] for steps in (found, oracle["moe"])]
        assert losses[0] == pytest.approx(losses[1], rel=0.01)
