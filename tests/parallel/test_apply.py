"""Wrapping and recomputing change how a model runs, never its names, and recomputing keeps less."""

import pytest
import torch

from curves import Cut, batch, make, model_config
from danlu.device.cpu import Cpu
from danlu.model.build import build
from danlu.parallel import data
from danlu.parallel.apply import parallelize, unwrap
from danlu.parallel.mesh import Parallel
from danlu.parallel.shards import length, local, share, whole
from danlu.train.losses import next_token
from ranks import run_ranks


def kept(cut: Cut) -> int:
    """Return the bytes of activations that one forward pass leaves for its backward pass."""
    model = make(cut).model
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = next_token(model, batch([0, 1, 2, 3]))
    assert loss.total.requires_grad
    return sum(size for place, size in storages.items() if place not in weights)


@pytest.mark.parametrize("moe", ["", "sequence"])
def test_recomputing_keeps_a_fraction(moe):
    assert kept(Cut(recompute=True, moe=moe)) < 0.3 * kept(Cut(moe=moe))


@pytest.mark.parametrize("recompute", [False, True])
def test_names_stay(recompute):
    bare = build(model_config(Cut()))
    names = list(bare.state_dict())
    changed = parallelize(bare, Parallel(), Cpu(), torch.float32, recompute=recompute)
    assert unwrap(changed) is bare
    assert list(changed.state_dict()) == names


class Small(Cpu):
    def __init__(self, total: int) -> None:
        super().__init__()
        self.total = total

    def memory(self) -> dict[str, int]:
        return {"used": 0, "peak": 0, "total": self.total}


def test_auto_shards_what_does_not_fit():
    model = build(model_config(Cut()))
    copy = 16 * sum(weight.numel() for weight in model.parameters())
    assert data.choose(Parallel(), model, Small(2 * copy)) == "ddp"
    assert data.choose(Parallel(), model, Small(2 * copy - 1)) == "fsdp"
    assert data.choose(Parallel(shard=2), model, Small(10 * copy)) == "fsdp"
    assert data.choose(Parallel(data="ddp"), model, Small(1)) == "ddp"


def pieces(rank: int, ranks: int) -> None:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 2))
    full = [weight.detach().clone() for weight in layers.parameters()]
    data.shard(layers, ranks, Cpu(), torch.float32)
    shares = list(layers.parameters())
    for weight, before in zip(shares, full, strict=True):
        assert torch.equal(local(weight), share(before, weight))
        assert torch.equal(whole(local(weight), weight), before)
    assert float(length(shares)) == pytest.approx(float(length(full)))
    assert float(length([*shares, *full])) == pytest.approx(2**0.5 * float(length(full)))


def test_a_sharded_tensor_and_its_pieces():
    run_ranks(pieces, 3)  # 3 divides neither 7 nor 5, and of 2 rows one rank has none
