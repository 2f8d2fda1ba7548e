"""Steps that must not be learned from: overflow, NaN, spikes. All ranks agree, and the rows are named."""

import math

import pytest
import torch

from curves import ROWS, Cut, curve, make, micro_batches
from danlu.base.errors import UserError
from danlu.device.cpu import Cpu
from danlu.device.scaler import Scaler
from danlu.train.guard import ENOUGH, PATIENCE, Guard
from danlu.train.losses import Loss, next_token
from ranks import run_ranks


class Saturating(Cpu):
    """A chip on which rank 0's step number `bad` overflows without a trace but a sticky flag."""

    def __init__(self, rank: int, bad: int) -> None:
        super().__init__()
        self.rank, self.bad, self.asked = rank, bad, -1

    def scaler(self, dtype: torch.dtype) -> Scaler:
        return Scaler(self)

    def overflowed(self) -> bool:
        self.asked += 1
        return self.rank == 0 and self.asked == self.bad


def saturated(rank: int, ranks: int) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    stepper = make(Cut(), Saturating(rank, bad=1))
    metrics = [stepper.step(micro_batches(Cut(), rank, ranks), next_token) for _ in range(4)]
    return metrics, stepper.state()[0]["model"]


def test_an_overflow_on_one_rank_is_skipped_on_all():
    (first, weights), (second, other_weights) = run_ranks(saturated, 2)
    assert first == second
    assert [step["scale"] for step in first] == [65536, 65536, 32768, 32768]
    assert [step.get("skipped", 0) for step in first] == [0, 1, 0, 0]
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)


def test_a_skipped_step_leaves_no_trace_but_the_schedule():
    (found, _), _ = run_ranks(saturated, 2)
    oracle = curve(Cut())
    losses = [step["loss"] for step in oracle]
    assert [step["loss"] for step in found] == pytest.approx(
        [losses[0], losses[1], losses[1], losses[2]], rel=1e-5
    )


def poison(row: int, value: float = math.nan):
    """Return the loss of a model that cannot stomach one row."""

    def loss_fn(model, batch):
        loss = next_token(model, batch)
        return Loss(loss.total * value if row in batch.rows else loss.total, loss.parts)

    return loss_fn


def poisoned(
    rank: int, ranks: int, cut: Cut, row: int, value: float
) -> tuple[list[dict[str, float]], str, float]:
    stepper = make(cut)
    before = sum(float(weight.abs().sum()) for weight in stepper.state()[0]["model"].values())
    metrics, said = [], ""
    try:
        metrics = [stepper.step(micro_batches(cut, rank, ranks), poison(row, value)) for _ in range(2)]
    except UserError as error:
        said = str(error)
    after = sum(float(weight.abs().sum()) for weight in stepper.state()[0]["model"].values())
    return metrics, said, after - before


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_stop_names_the_rows_on_all_ranks(value):
    cut = Cut(pieces=2, stepper={"bad_step": "stop"})
    for _, said, change in run_ranks(poisoned, 2, cut, 5, value):
        assert "step 1: the loss is " + ("nan" if math.isnan(value) else "inf") in said
        assert "of rank 1 of rows 5, 7" in said
        assert change == 0


def test_skip_goes_on_unchanged(capsys):
    cut = Cut(pieces=4, stepper={"bad_step": "skip"})
    metrics, said, change = poisoned(0, 1, cut, 2, math.nan)
    assert not said and change == 0
    assert [step["skipped"] for step in metrics] == [1, 1]
    assert "the highest loss is in the micro-batch of rows 2, 3; skipped" in capsys.readouterr().err


def test_skipping_for_ever_is_an_error():
    stepper = make(Cut(stepper={"bad_step": "skip"}))
    with pytest.raises(UserError, match=f"{PATIENCE} bad steps in a row"):
        for _ in range(PATIENCE):
            stepper.step(micro_batches(Cut()), poison(0))


def test_a_gradient_that_is_not_finite_is_bad_though_the_loss_is():
    def loss_fn(model, batch):
        loss = next_token(model, batch)
        return Loss(loss.total + (loss.total.detach() - loss.total).sqrt())  # 0, of infinite slope

    with pytest.raises(UserError, match="the gradient is (nan|inf)"):
        make(Cut()).step(micro_batches(Cut()), loss_fn)


def test_spikes_are_found_only_when_asked_for_and_known():
    usual = [2.0, 2.2, 1.8, 2.0] * (ENOUGH // 4)
    asked, silent = Guard(spike=3.0, spike_norm=5.0), Guard()
    assert asked.judge(100.0, 100.0) is None  # nothing is known yet
    for loss in usual:
        asked.accept(loss, loss / 2)
        silent.accept(loss, loss / 2)
    assert silent.judge(100.0, 100.0) is None
    assert asked.judge(5.9, 4.9) is None
    assert "3.1 times its median of 2" in str(asked.judge(6.2, 1.0))
    assert "5.1 times its mean of 1" in str(asked.judge(2.0, 5.1))


def test_a_spike_is_skipped_and_not_remembered():
    stepper = make(Cut(optim={"lr": 1e-4}, stepper={"bad_step": "skip", "spike": 2.0}))
    for _ in range(ENOUGH):
        stepper.step(micro_batches(Cut()), next_token)
    remembered = stepper.guard.state_dict()
    assert "skipped" in stepper.step(micro_batches(Cut()), poison(1, 3.0))
    assert stepper.guard.state_dict() == remembered | {"bad": 1}
    assert "skipped" not in stepper.step(micro_batches(Cut()), next_token)


@pytest.mark.parametrize("moe", ["", "sequence", "token"])
def test_a_step_of_nothing_but_padding_changes_nothing(moe):
    cut = Cut(moe=moe, optim={"weight_decay": 0.0})
    stepper = make(cut)
    before = {name: weight.clone() for name, weight in stepper.state()[0]["model"].items()}
    padding = [micro_batches(Cut(pieces=ROWS + 1))[-1]]
    assert padding[0].count == 0 == padding[0].num_tokens
    metrics = stepper.step(padding, next_token)
    assert (metrics["loss"], metrics["grad_norm"]) == (0, 0)
    assert all(torch.equal(weight, before[name]) for name, weight in stepper.state()[0]["model"].items())
