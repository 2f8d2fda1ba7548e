"""The training loop. There is no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import nn

from danlu.data.stream import Stream
from danlu.train.losses import LossFn
from danlu.train.stepper import Stepper

if TYPE_CHECKING:
    from danlu.train.run import Run

Evaluate = Callable[[nn.Module], dict[str, float]]


def fit(
    run: Run,
    stepper: Stepper,
    batches: Stream,
    loss_fn: LossFn,
    evaluate: Evaluate | None = None,
) -> None:
    """Go on from where the run stands; step until it is complete or asked to stop; save."""
    run.restore(stepper, batches)
    stepper.where = batches.where
    valid = None
    while run.step < run.total_steps and not run.should_stop():
        metrics = stepper.step(next(batches), loss_fn)  # forward, backward, clip, update
        run.step += 1
        run.log(metrics | batches.shares())
        last = run.step == run.total_steps
        due = last or run.due(run.cfg.eval_every)
        valid = measure(run, stepper, evaluate) if evaluate and due else None
        if run.due(run.cfg.save_every) and not last:
            run.save(stepper, batches, valid)
    run.save(stepper, batches, valid, wait=True)
    batches.close()


def measure(run: Run, stepper: Stepper, evaluate: Evaluate) -> float | None:
    """Log what validation finds, and return its loss."""
    with run.pause():
        stepper.model.eval()
        found = evaluate(stepper.model)
        stepper.model.train()
    run.log(found)
    return found.get("valid_loss")
