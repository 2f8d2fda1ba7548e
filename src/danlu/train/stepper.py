"""One optimiser step: several micro-batches in, one update of the weights out.

    count over all micro-batches and ranks          known before the first forward
    each micro-batch: forward, backward             loss = sum / count
    agree: loss, parts, overflow                    one exchange, one wait for the device
    fit to be learned from? clip, update            else skip it or stop, and name the rows
    next learning rate

Losses are sums and are divided once, so how a batch is cut into micro-batches and ranks cannot change
what is learned. A micro-batch that is all padding has count 0 and adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.checkpoint.state import model_state, optimizer_state
from danlu.data.batch import Batch
from danlu.device.api import Device
from danlu.parallel import mesh, shards
from danlu.parallel.data import accumulating, unwrap
from danlu.train.guard import Guard
from danlu.train.losses import LossFn
from danlu.train.schedule import Schedule

ROWS_NAMED = 8


class Stepper:
    """Everything that changes from step to step, and `step` which changes it."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        device: Device,
        dtype: torch.dtype,
        world: mesh.World,
        *,
        max_norm: float = 1.0,
        bad_step: Literal["skip", "stop"] = "stop",
        spike: float | None = None,
        spike_norm: float | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        self.device = device
        self.dtype = dtype
        self.world = world
        self.max_norm = max_norm
        self.bad_step = bad_step
        self.guard = Guard(spike, spike_norm)
        self.where: Callable[[int], str] = str
        """Names the record of a number: its file and line, where the stream is known."""
        self.scaler = device.scaler(dtype)
        self.weights = [weight for group in optimizer.param_groups for weight in group["params"]]

    def step(self, micro_batches: list[Batch], loss_fn: LossFn) -> dict[str, float]:
        """Learn from the micro-batches, as one batch; return what was measured, the same on every rank."""
        mine = torch.tensor([[batch.count, batch.num_tokens] for batch in micro_batches]).sum(0)
        count, tokens = mesh.sum_over_ranks(mine).tolist()
        losses, parts = self._backward(micro_batches, loss_fn, max(count, 1))
        overflow = self.scaler is not None and self.scaler.unscale_and_check(self.weights)
        found, overflow, norm = self._agree(losses.sum(), parts, overflow, max(count, 1))
        reason = self._reason(found["loss"], norm, overflow)
        skip = overflow or reason is not None
        metrics = found | {"grad_norm": norm, "lr": self.schedule.lr, "tokens": tokens}
        metrics |= {"skipped": 1.0} if skip else {}
        if not skip:
            self.guard.accept(found["loss"], norm)
            self._update(norm)
        elif reason:
            self._complain(reason, micro_batches, losses)
        self._balance_experts(learn=not skip)
        self.optimizer.zero_grad(set_to_none=True)
        if self.scaler is not None:
            metrics["scale"] = self.scaler.value
            self.scaler.update(overflow)
        self.schedule.step()
        return metrics

    def _backward(
        self, micro_batches: list[Batch], loss_fn: LossFn, count: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Add up gradients; return each micro-batch's loss, and the sum of each part."""
        losses, parts = [], {}  # type: list[Tensor], dict[str, Tensor]
        for number, batch in enumerate(micro_batches):
            batch = batch.to(self.device.torch)
            with accumulating(self.model, more=number + 1 < len(micro_batches)):
                with self.device.autocast(self.dtype):
                    loss = loss_fn(self.model, batch)
                # The data-parallel wrapper averages gradients over ranks; we want their sum.
                total = loss.total * (self.world.ranks / count)
                (self.scaler.scale(total) if self.scaler else total).backward()
            losses.append(loss.total.detach().float())
            for name, part in loss.parts.items():
                parts[name] = parts.get(name, 0) + part.detach().float()
        return torch.stack(losses), parts

    def _agree(
        self, loss: Tensor, parts: dict[str, Tensor], overflow: bool, count: int
    ) -> tuple[dict[str, float], bool, float]:
        """Return mean loss and parts, whether any rank overflowed, and the gradient's length."""
        names = sorted(parts)
        flag = loss.new_tensor(float(overflow))
        sums = mesh.sum_over_ranks(torch.stack([loss, flag, *(parts[name] for name in names)]))
        norm = shards.length([weight.grad for weight in self.weights if weight.grad is not None])
        total, flags, *rest, norm = torch.cat([sums, norm[None]]).tolist()
        means = {name: value / count for name, value in zip(["loss", *names], [total, *rest], strict=True)}
        return means, flags > 0, norm

    def _reason(self, loss: float, norm: float, overflow: bool) -> str | None:
        """Return why a step is not fit to be learned from; an overflow alone is the scaler's business."""
        if not overflow or self.scaler is None or not math.isfinite(loss):
            return self.guard.judge(loss, norm)
        return "the gradient overflows float16 even unscaled" if self.scaler.value <= 1 else None

    def _update(self, norm: float) -> None:
        """Shorten the gradient if it is too long, then move the weights."""
        if 0 < self.max_norm < norm:
            grads = [shards.local(weight.grad) for weight in self.weights if weight.grad is not None]
            torch._foreach_mul_([grad for grad in grads if grad.numel()], self.max_norm / (norm + 1e-6))
        self.optimizer.step()

    def _complain(self, reason: str, micro_batches: list[Batch], losses: Tensor) -> None:
        """Say which rows a bad step came from, then stop or let it be skipped, as configured."""
        step = self.schedule.done + 1
        what = f"step {step}: {reason}; {self._suspects(micro_batches, losses)}"
        if self.bad_step == "stop":
            self.optimizer.zero_grad(set_to_none=True)
            raise UserError(
                what, "look at these rows; a smaller optim.lr; bad_step=skip goes on without them"
            )
        say(f"{what}; skipped")
        self.guard.refuse(what)

    def _suspects(self, micro_batches: list[Batch], losses: Tensor) -> str:
        """Return words that name the rows of the micro-batch, of all ranks', with the worst mean loss."""
        pairs = zip(losses.tolist(), micro_batches, strict=True)
        means = [loss / max(batch.count, 1) for loss, batch in pairs]
        badness = [mean if math.isfinite(mean) else math.inf for mean in means]
        worst = badness.index(max(badness))
        everyone = mesh.gather((badness[worst], list(micro_batches[worst].rows)))
        rank = max(range(len(everyone)), key=lambda rank: everyone[rank][0])
        rows = everyone[rank][1]
        more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
        where = f" of rank {rank}" if len(everyone) > 1 else ""
        named = ", ".join(self.where(row) for row in rows[:ROWS_NAMED])
        return f"the highest loss is in the micro-batch{where} of rows {named}{more}"

    def _balance_experts(self, learn: bool) -> None:
        """Move the routers' biases by what all ranks' tokens chose; forget what a skipped step's did."""
        loads_LE = unwrap(self.model).router_loads()
        if loads_LE is not None and loads_LE.numel():
            loads_LE = mesh.sum_over_ranks(loads_LE)
            unwrap(self.model).apply_router_loads(loads_LE if learn else torch.zeros_like(loads_LE))

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Return the tensors to keep, by the names of the bare model's weights, and the plain rest.

        Loading into these very tensors puts them back.
        """
        tensors = {"model": model_state(self.model), "optimizer": optimizer_state(self.model, self.optimizer)}
        plain = {
            "schedule": self.schedule.state_dict(),
            "guard": self.guard.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else None,
        }
        return tensors, {"stepper": plain}

    @torch.no_grad()
    def load_state(self, tensors: dict[str, dict[str, Tensor]], plain: dict[str, Any]) -> None:
        """Go on from `state`."""
        mine, _ = self.state()
        for kind, group in tensors.items():
            for name, tensor in group.items():
                if tensor is not mine[kind][name]:
                    mine[kind][name].copy_(tensor)
        self.schedule.load_state_dict(plain["stepper"]["schedule"])
        self.guard.load_state_dict(plain["stepper"]["guard"])
        if self.scaler and plain["stepper"]["scaler"]:
            self.scaler.load_state_dict(plain["stepper"]["scaler"])
