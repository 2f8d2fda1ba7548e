"""The tests' own way of starting ranks tells the truth."""

import pytest
import torch

from ranks import run_ranks


def add(rank: int, ranks: int, extra: float) -> float:
    total = torch.tensor([rank + 1.0])
    torch.distributed.all_reduce(total)
    return float(total) + extra


def fail_on_one(rank: int, ranks: int) -> None:
    if rank == 1:
        raise ValueError("rank one is unwell")
    torch.distributed.barrier()


def test_every_rank_answers():
    assert run_ranks(add, 2, 0.5) == [3.5, 3.5]


def test_a_failing_rank_is_named():
    with pytest.raises(RuntimeError, match="(?s)rank 1 failed.*rank one is unwell"):
        run_ranks(fail_on_one, 2)
