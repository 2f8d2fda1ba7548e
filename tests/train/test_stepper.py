"""One rank and one piece is the oracle: no cut of the work changes what a step does."""

import pytest

from curves import Cut, curve, ranked

EXACT = {"rel": 1e-5, "abs": 1e-7}


def same(found, expected):
    for step, oracle in zip(found, expected, strict=True):
        assert step == pytest.approx(oracle, **EXACT)


@pytest.fixture(scope="module")
def oracle():
    known = {}

    def one_rank_one_piece(**keys):
        name = str(keys)
        if name not in known:
            known[name] = curve(Cut(**keys))
        return known[name]

    return one_rank_one_piece


MODELS = [{}, {"tied": False}, {"moe": "sequence"}, {"moe": "bias"}]


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_the_oracle_learns(oracle, model):
    found = oracle(**model)
    assert found[-1]["loss"] < found[0]["loss"]
    assert found[0]["grad_norm"] > 0.5  # so that clipping is part of what is compared
    assert found[0]["tokens"] == 8 * 12 - 3 * 2  # rows 1, 4 and 7 end in padding


@pytest.mark.parametrize("pieces", [2, 4, 8])
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_accumulation_changes_nothing(oracle, pieces, model):
    same(curve(Cut(pieces=pieces, **model)), oracle(**model))


@pytest.mark.parametrize("data", ["ddp", "fsdp"])
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_ranks_change_nothing(oracle, data, model):
    same(ranked(2, Cut(pieces=2, data=data, **model)), oracle(**model))


@pytest.mark.parametrize(
    ("ranks", "keys"), [(3, {"data": "ddp"}), (3, {"data": "fsdp"}), (4, {"data": "fsdp", "shard": 2})]
)
def test_odd_shares_and_groups_of_shards_change_nothing(oracle, ranks, keys):
    same(ranked(ranks, Cut(pieces=2, moe="sequence", **keys)), oracle(moe="sequence"))


@pytest.mark.parametrize("name", ["muon", "adamw_bf16"])
@pytest.mark.parametrize("data", ["ddp", "fsdp"])
def test_every_optimiser_is_the_same_on_ranks(oracle, name, data):
    optim = {"name": name}
    same(ranked(2, Cut(data=data, optim=optim, moe="sequence")), oracle(optim=optim, moe="sequence"))


@pytest.mark.parametrize("keys", [{}, {"data": "ddp"}, {"data": "fsdp"}], ids=str)
@pytest.mark.parametrize("model", [{}, {"moe": "sequence"}], ids=str)
def test_recomputing_changes_nothing(oracle, keys, model):
    cut = Cut(recompute=True, **keys, **model)
    same(ranked(2, cut) if keys else curve(cut), oracle(**model))
