"""Gradient scaling for float16: gradients below 6e-8 vanish, so the loss is multiplied before backward.

    scaler.scale(loss).backward()                              once or several times
    found = scaler.unscale_and_check(parameters)               this rank's answer
    found = any rank's                                         the stepper agrees by MAX
    if not found: optimizer.step()
    scaler.update(found)

The scale halves after an overflow and doubles after `interval` good steps in a row. It is always a
power of two, so scaling and unscaling change no bit of a gradient that neither vanishes nor overflows.

Ours rather than torch's, for three reasons. Some chips saturate: an overflow gives 65504, not Inf, and
only a sticky flag of the device tells; `device.overflowed()` is asked. That flag is one rank's, and
ranks that decide alone drift apart for good. And the state is the same plain dictionary everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor


class Overflow(Protocol):
    """The two things a scaler asks of a device."""

    def clear_overflow(self) -> None: ...
    def overflowed(self) -> bool: ...


class Scaler:
    """A loss scale that finds its own size (Micikevicius et al. 2018, section 3.2)."""

    def __init__(self, device: Overflow, value: float = 2.0**16, interval: int = 2000) -> None:
        self.value = value
        self.interval = interval
        self._good = 0  # steps since the scale last changed
        self._device = device
        self._watching = False

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss to call `backward` on."""
        if not self._watching:
            self._device.clear_overflow()
            self._watching = True
        return loss * self.value

    @torch.no_grad()
    def unscale_and_check(self, parameters: Iterable[Tensor]) -> bool:
        """Divide every gradient by the scale, in place; return whether one of them overflowed."""
        found = self._device.overflowed()  # before anything else computes on the device
        self._watching = False
        grads = [_local(parameter.grad) for parameter in parameters if parameter.grad is not None]
        grads = [grad for grad in grads if grad.numel()]
        if not grads:
            return found
        torch._foreach_mul_(grads, 1.0 / self.value)
        largest = torch.stack([norm.float() for norm in torch._foreach_norm(grads, float("inf"))])
        return found or not bool(torch.isfinite(largest).all())

    def update(self, found: bool) -> None:
        """Choose the next step's scale from what all ranks found in this one."""
        if found:
            self.value = max(self.value / 2, 1.0)
            self._good = 0
            return
        self._good += 1
        if self._good == self.interval:
            self.value *= 2
            self._good = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers, the same on every device."""
        return {"value": self.value, "good": self._good}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.value, self._good = float(state["value"]), int(state["good"])


def _local(tensor: Tensor) -> Tensor:
    """Return this rank's piece of a sharded tensor, a view of the same memory."""
    to_local = getattr(tensor, "to_local", None)
    return to_local() if to_local is not None else tensor
