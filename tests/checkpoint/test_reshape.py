"""One rank is the oracle: what any number of ranks saved, any other number loads and trains on."""

import itertools
import os
import resource
import signal

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from danlu.base.errors import UserError
from danlu.checkpoint.gather import full_state, read_full
from danlu.checkpoint.state import model_state, optimizer_state
from danlu.checkpoint.store import Store
from danlu.train.optim import fill_states
from ranks import run_ranks

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")

RANKS = {"plain": 1, "alone": 1, "ddp": 2, "fsdp": 2, "hsdp": 2}


def build(kind):
    """A small model and its optimiser; 3 and 1 rows do not divide by two ranks."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1), nn.BatchNorm1d(1, affine=False))
    model[3].eval()
    if kind == "ddp":
        wrapped = DistributedDataParallel(model)
    elif kind == "plain":
        wrapped = model
    else:
        shape = {"alone": (1,), "fsdp": (2,), "hsdp": (2, 1)}[kind]
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=("copy", "shard")[-len(shape) :])
        for layer in (model[0], model[2], model):
            fully_shard(layer, mesh=mesh)
        wrapped = model
    return wrapped, torch.optim.AdamW(wrapped.parameters(), lr=0.1)


def train(model, optimizer, steps):
    """Losses of the steps; every rank sees the same batch, so ranks change nothing."""
    losses = []
    for step in steps:
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        loss = (model(x).flatten() - x.sum(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def tensors_of(model, optimizer):
    return {"model": model_state(model), "optimizer": optimizer_state(model, optimizer)}


def whole(tensors):
    """Every tensor in full, as arrays: those are pickled between processes by value."""
    return {
        f"{kind}/{name}": (t.full_tensor() if isinstance(t, DTensor) else t).numpy().copy()
        for kind, group in tensors.items()
        for name, t in group.items()
    }


def save_and_go_on(rank, ranks, folder):
    results = {}
    for kind in (kind for kind in RANKS if RANKS[kind] == ranks):
        model, optimizer = build(kind)
        train(model, optimizer, range(3))
        store = Store(folder / kind)
        tensors = tensors_of(model, optimizer)
        state = whole(tensors)
        store.save(3, tensors, {"rank": rank, "kind": kind})
        losses = train(model, optimizer, range(3, 6))  # while it is written
        store.wait()
        results[kind] = state, losses
    return results


def load_and_go_on(rank, ranks, folder):
    results = {}
    mine = [kind for kind in RANKS if RANKS[kind] == ranks]
    for kind, other in itertools.product(mine, RANKS):
        model, optimizer = build(kind)
        train(model, optimizer, range(7, 9) if other == "ddp" else [])  # into used ones as into fresh ones
        store = Store(folder / other)
        path = store.newest()
        assert path == folder / other / "step-000003"
        fill_states(optimizer)
        tensors = tensors_of(model, optimizer)
        store.load(path, tensors)
        assert store.plain(path) == {"rank": rank if rank < RANKS[other] else 0, "kind": other}
        results[kind, other] = whole(tensors), train(model, optimizer, range(3, 6))
        store.close()
    return results


def test_any_number_of_ranks_loads_what_any_other_saved(tmp_path):
    at_save = run_ranks(save_and_go_on, 1, tmp_path)[0] | run_ranks(save_and_go_on, 2, tmp_path)[0]
    assert at_save.keys() == RANKS.keys()
    for results in run_ranks(load_and_go_on, 1, tmp_path) + run_ranks(load_and_go_on, 2, tmp_path):
        for (kind, other), (state, losses) in results.items():
            expected, expected_losses = at_save[other]
            assert state.keys() == expected.keys()
            for name, array in state.items():
                assert array.dtype == expected[name].dtype and np.array_equal(array, expected[name]), name
            assert losses == pytest.approx(expected_losses, rel=1e-5)
            assert kind != other or losses == expected_losses
    for kind in RANKS:  # a checkpoint of any kind is read with no ranks at all
        expected = at_save[kind][0]
        found = dict(read_full(tmp_path / kind / "step-000003"))
        assert all(np.array_equal(tensor, expected[f"model/{name}"]) for name, tensor in found.items())
        assert len(found) == 7
        model, optimizer = build("plain")  # nor does loading need a process group
        path = tmp_path / kind / "step-000003"
        fill_states(optimizer)
        Store(tmp_path / kind).load(path, tensors_of(model, optimizer))
        again = whole(tensors_of(model, optimizer))
        assert again.keys() == expected.keys()
        assert all(np.array_equal(array, expected[name]) for name, array in again.items())


def gathered(rank, ranks, kind):
    model, _ = build(kind)
    return {
        name: tensor.numpy() for name, tensor in full_state(model).items() if type(tensor) is torch.Tensor
    }


@pytest.mark.parametrize("kind", RANKS)
def test_whole_weights_come_to_rank_0_under_bare_names(kind):
    expected = build("plain")[0].state_dict()
    first, *others = run_ranks(gathered, RANKS[kind], kind)
    assert list(first) == list(expected)
    assert all(np.array_equal(first[name], expected[name]) for name in expected)
    assert all(other == {} for other in others)


def share_of_work(rank, ranks, folder):
    store = Store(folder)
    # Rank 1 holds an extra tensor, as a rank of a pipeline would.
    group = {f"w{i}": torch.full((1000,), float(i)) for i in range(10)} | (
        {"last": torch.ones(3)} if rank else {}
    )
    path = store.save(1, {"model": group}, {}, wait=True)
    again = {"model": {name: torch.zeros_like(tensor) for name, tensor in group.items()}}
    store.load(path, again)
    return all(torch.equal(again["model"][name], group[name]) for name in group)


def test_what_all_ranks_hold_is_written_once_and_the_work_is_shared(tmp_path):
    assert run_ranks(share_of_work, 2, tmp_path) == [True, True]
    sizes = [(tmp_path / "step-000001" / f"rank-0000{rank}.safetensors").stat().st_size for rank in (0, 1)]
    assert all(20_000 <= size < 25_000 for size in sizes)


def one_rank_fails(rank, ranks, folder, failing):
    store = Store(folder)
    state = {"model": {f"w{i}": torch.zeros(50_000) for i in range(4)}}
    whole = store.save(1, state, {}, wait=True)
    if rank == failing:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    problems = []
    store.save(2, state, {})
    try:
        store.wait()
    except UserError as error:
        problems.append(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    dist.barrier()
    left = sorted(path.name for path in folder.iterdir())
    dist.barrier()
    assert store.newest() == whole
    store.save(3, state, {}, wait=True)
    return problems, left


@pytest.mark.parametrize("failing", [0, 1])
def test_where_one_rank_cannot_write_all_say_so_and_nothing_half_made_is_left(tmp_path, failing):
    for problems, left in run_ranks(one_rank_fails, 2, tmp_path, failing):
        assert len(problems) == 1 and "step-000002: File too large" in problems[0]
        assert left == [".lock", "latest", "step-000001"]
    assert (tmp_path / "latest").read_text() == "step-000003\n"


def each_rank_judges(rank, ranks, folder):
    store = Store(folder)
    path = store.save(1, {"model": {"w": torch.zeros(4)}}, {}, wait=True)
    said = []
    for tensors in (
        {"w": torch.zeros(4 + rank)},
        {"w": torch.zeros(4), **({"x": torch.zeros(1)} if rank else {})},
    ):
        try:
            store.load(path, {"model": tensors})
        except UserError as error:
            said.append(error.problem)
    dist.barrier()
    if rank == 0:
        os.truncate(path / "rank-00001.json", 1)
    dist.barrier()
    return said, Store(folder).newest()


def test_ranks_agree_on_what_is_wrong_even_where_only_one_sees_it(tmp_path):
    (said, newest), other = run_ranks(each_rank_judges, 2, tmp_path)
    assert (said, newest) == other and newest is None
    assert "float32 [4] in the checkpoint, float32 [5] here" in said[0]
    assert "missing in the checkpoint: x" in said[1]


def beside_training(rank, ranks, folder):
    """Training keeps reducing while saves run; order of the two differs between the ranks."""
    store, state, total = Store(folder), {"model": {"w": torch.zeros(500_000)}}, torch.zeros(1)
    for step in range(6):
        store.save(step, state, {})
        for _ in itertools.repeat(None, 20):
            value = torch.ones(1) * (rank + 1)
            dist.all_reduce(value)
            total += value
    store.wait()
    return total.item()


def test_saving_does_not_meddle_with_the_collectives_of_training(tmp_path):
    assert run_ranks(beside_training, 2, tmp_path) == [360.0, 360.0]
    assert len(list(tmp_path.glob("step-*"))) == 3
