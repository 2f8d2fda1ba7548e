"""A stepper that goes on from another's state is that other, on any number of ranks."""

import pytest
import torch

from curves import Cut, make, micro_batches
from danlu.checkpoint.store import Store
from danlu.train.losses import next_token
from ranks import run_ranks

HALF = 2


def first_half(rank: int, ranks: int, cut: Cut, folder) -> list[float]:
    stepper = make(cut)
    found = [stepper.step(micro_batches(cut, rank, ranks), next_token)["loss"] for _ in range(HALF)]
    store = Store(folder)
    store.save(HALF, *stepper.state(), wait=True)
    store.close()
    return found


def second_half(rank: int, ranks: int, cut: Cut, folder) -> list[float]:
    stepper = make(cut)
    store = Store(folder)
    tensors, _ = stepper.state()
    store.load(store.newest(), tensors)
    stepper.load_state(tensors, store.plain(store.newest()))
    store.close()
    assert stepper.schedule.done == HALF
    return [stepper.step(micro_batches(cut, rank, ranks), next_token)["loss"] for _ in range(HALF)]


def on(ranks: int, half, *args):
    return run_ranks(half, ranks, *args)[0] if ranks > 1 else half(0, 1, *args)


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        ((1, "ddp"), (1, "ddp"), {"moe": "bias"}),
        ((1, "ddp"), (2, "fsdp"), {"moe": "bias", "optim": {"name": "muon"}}),
        ((2, "fsdp"), (1, "ddp"), {"moe": "bias", "optim": {"name": "muon"}}),
        ((2, "fsdp"), (2, "ddp"), {"tied": False}),
        ((2, "ddp"), (3, "fsdp"), {"optim": {"name": "adamw_bf16"}}),
    ],
    ids=str,
)
def test_going_on_elsewhere(before, after, keys, tmp_path):
    stepper = make(Cut(**keys))
    oracle = [stepper.step(micro_batches(Cut()), next_token)["loss"] for _ in range(2 * HALF)]
    found = on(before[0], first_half, Cut(data=before[1], **keys), tmp_path)
    found += on(after[0], second_half, Cut(data=after[1], **keys), tmp_path)
    assert found == pytest.approx(oracle, rel=1e-5)
    if before == after:
        assert found == oracle


def test_state_is_by_name_and_plain_is_plain():
    tensors, plain = make(Cut()).state()
    assert "model.embed_tokens.weight" in tensors["model"]
    assert "model.embed_tokens.weight/exp_avg" in tensors["optimizer"]
    assert all(isinstance(tensor, torch.Tensor) for group in tensors.values() for tensor in group.values())
    assert plain["stepper"]["schedule"] == {"done": 0}
