"""One device as the engine sees it: what any accelerator can be asked, answered through torch.accelerator.

    device = api.current()
    with device.autocast(torch.bfloat16):
        loss = ...
    device.synchronize()

`cpu.py`, `cuda.py` and `npu.py` each fill in what differs on theirs, and nothing outside this package
asks which of them it has. What an accelerator does not say is None or unknown, never a guess.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from danlu.base.log import say_once
from danlu.device import ceiling, peaks
from danlu.device.scaler import Scaler


@dataclass(frozen=True)
class Traits:
    """What chips of one kind disagree about."""

    bf16: bool
    """bfloat16 is native and fast."""
    inf_nan: bool
    """float16 overflow gives Inf; false: it saturates at 65504 and only a flag tells."""
    fused_adamw: bool
    """torch's fused AdamW has a kernel."""
    flash: bool
    """Attention without the full score matrix."""
    reduce_dtypes: frozenset[torch.dtype]
    """What the collectives can sum."""


class Device:
    """An accelerator, or the processor. Made by `api.choose`."""

    kind: ClassVar[str]
    backend: ClassVar[str]
    """The collectives' library, as torch.distributed names it."""
    ops: Mapping[str, Callable[..., Any]] = MappingProxyType({})
    """Faster operations by name, with the signatures of `ops`; one answers NotImplemented where it cannot."""

    def __init__(self, index: int, name: str, traits: Traits) -> None:
        self.index = index
        self.name = name
        self.traits = traits
        self.torch = torch.device(self.kind, index)
        self._ceilings: dict[torch.dtype, float] = {}

    def __repr__(self) -> str:
        return f"Device({self.torch}, {self.name})"

    @property
    def module(self) -> Any:
        """torch's module for this kind of device."""
        return torch.get_device_module(self.kind)

    # Numbers

    def default_dtype(self) -> torch.dtype:
        """Return the fast number format that is safe here."""
        return torch.bfloat16 if self.traits.bf16 else torch.float32

    def autocast(self, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which matrix products run in `dtype`; weights stay as they are."""
        if dtype is torch.float32:
            return contextlib.nullcontext()
        self.check(dtype)
        return torch.autocast(self.kind, dtype)

    def check(self, dtype: torch.dtype) -> None:
        """Say aloud, or refuse, a number format this chip would change or emulate."""
        if dtype is torch.bfloat16 and not self.traits.bf16:
            say_once(f"dtype: {self.name} emulates bfloat16, slowly")

    def scaler(self, dtype: torch.dtype) -> Scaler | None:
        """Return what keeps small float16 gradients from vanishing; other formats need nothing."""
        return Scaler(self) if dtype is torch.float16 else None

    def clear_overflow(self) -> None:
        """Forget an overflow seen before; only a saturating chip has something to forget."""

    def overflowed(self) -> bool:
        """Return whether a saturating chip overflowed since it was cleared; others show Inf instead."""
        return False

    # Time and memory

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        torch.accelerator.synchronize(self.index)

    def memory(self) -> dict[str, int]:
        """Return bytes `used` by tensors now, at their `peak`, and in `total`."""
        return {
            "used": self.module.memory_allocated(self.index),
            "peak": self.module.max_memory_allocated(self.index),
            "total": self.module.mem_get_info(self.index)[1],
        }

    def reset_peak(self) -> None:
        """Count the peak from now on."""
        self.module.reset_peak_memory_stats(self.index)

    def empty_cache(self) -> None:
        """Give back memory that no tensor uses."""
        self.module.empty_cache()

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Return whether an error means that memory has ended.

        >>> from danlu.device import api
        >>> api.current().is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
        True
        """
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            return True
        text = str(error).lower()
        return isinstance(error, RuntimeError) and any(words in text for words in OUT_OF_MEMORY)

    # Random numbers

    def seed(self, number: int) -> None:
        """Start every generator of torch, the processor's and the device's, from `number`."""
        torch.manual_seed(number)

    def repeat_exactly(self) -> None:
        """Take the kernels that give the same bits every time; torch says it where there is none."""
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Nobody reads what nobody wrote, so nothing has to be written there.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    def rng_state(self) -> Tensor:
        """Return the state of the device's generator, as bytes on the host."""
        return self.module.get_rng_state(self.index)

    def set_rng_state(self, state: Tensor) -> None:
        """Put back what `rng_state` returned."""
        self.module.set_rng_state(state, self.index)

    # Speed

    def peak_flops(self, dtype: torch.dtype) -> float | None:
        """Return the vendor's dense FLOP/s for exactly this chip, or None."""
        return peaks.peak(self.name, dtype)

    def matmul_ceiling(self, dtype: torch.dtype) -> float:
        """Return the FLOP/s of the best matrix product measured here; the first call takes about a second."""
        if dtype not in self._ceilings:
            self._ceilings[dtype] = ceiling.measure(self.torch, dtype, self.synchronize)
        return self._ceilings[dtype]

    def why_no_compile(self) -> str | None:
        """Return why torch.compile cannot work here, or None if it can."""
        raise NotImplementedError


OUT_OF_MEMORY = (
    "can't allocate memory",  # the processor's allocator
    "not enough memory",
    "out of memory",
    "alloc_failed",  # matrix libraries, when their workspace does not fit
    "bad_alloc",
    "error code is 207001",  # torch_npu without its cache, or in its own buffers
)
