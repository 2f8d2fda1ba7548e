"""NVIDIA cards, and AMD's through torch's ROCm build, which answers to the same name."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from danlu.device.device import Device, Traits

NCCL_SUMS = frozenset(
    (
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.int8,
        torch.uint8,
        torch.int32,
        torch.int64,
    )
)
FLASH_DTYPES = (torch.float16, torch.bfloat16)
FLASH_WIDTH = 256  # the widest head its kernels know


def attention(
    q_BTHD: Tensor,
    k_BSKD: Tensor,
    v_BSKD: Tensor,
    layout: Any,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Any:
    """Causal attention inside each sample of a packed batch, by the variable-length flash kernel.

    H query heads share K key heads; `layout.bounds` are the samples' borders in the flattened batch.
    """
    D = q_BTHD.shape[-1]
    if (
        layout.bounds is None
        or softcap is not None
        or q_BTHD.dtype not in FLASH_DTYPES
        or D > FLASH_WIDTH
        or D % 8
    ):
        return NotImplemented
    longest = max(layout.longest, 1)
    bounds = covering(layout.bounds, longest, q_BTHD.shape[0] * q_BTHD.shape[1])
    out = torch.ops.aten._flash_attention_forward(
        q_BTHD.flatten(0, 1),
        k_BSKD.flatten(0, 1),
        v_BSKD.flatten(0, 1),
        bounds,
        bounds,
        longest,
        longest,
        0.0,
        True,
        False,
        scale=scale,
        window_size_left=None if window is None else window - 1,
        window_size_right=None if window is None else 0,
    )[0]
    return out.view_as(q_BTHD)


def covering(bounds: Tensor, longest: int, N: int) -> Tensor:
    """Return borders that reach the end of the batch, padding after the last sample cut like samples.

    The kernel leaves what no sample covers unwritten, gradients too. How much that is only the device
    knows, so there are as many pieces as there could be, and most of them are empty.

    >>> covering(torch.tensor([0, 3, 5]), longest=4, N=10)
    tensor([ 0,  3,  5,  9, 10, 10], dtype=torch.int32)
    """
    pieces = torch.arange(1, -(-N // longest) + 1, device=bounds.device) * longest
    return torch.cat([bounds, (bounds[-1] + pieces).clamp(max=N)]).to(torch.int32)


TABLE: dict[str, Callable[..., Any]] = {"attention": attention}


class Cuda(Device):
    """One card."""

    kind = "cuda"
    backend = "nccl"
    ops = TABLE

    def __init__(self, index: int) -> None:
        modern = torch.cuda.get_device_capability(index) >= (8, 0)  # Ampere: bfloat16 and flash attention
        super().__init__(
            index, torch.cuda.get_device_name(index), Traits(modern, True, True, modern, NCCL_SUMS)
        )

    def repeat_exactly(self) -> None:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is made
        super().repeat_exactly()

    def why_no_compile(self) -> str | None:
        if torch.cuda.get_device_capability(self.index) < (7, 0):
            return f"Triton has no code for {self.name}"
        if importlib.util.find_spec("triton") is None:
            return "Triton is not installed; pip install triton"
        if shutil.which("gcc") is None and shutil.which("cc") is None and shutil.which("clang") is None:
            return "no C compiler, which Triton needs; install gcc"
        return None


def open_device(index: int) -> Cuda:
    """Make card `index` this process's own."""
    torch.cuda.set_device(index)
    # cuDNN's attention, which newer cards prefer under a mask, plans for each length anew: 50 ms a token.
    torch.backends.cuda.enable_cudnn_sdp(False)
    return Cuda(index)


def why_not() -> str | None:
    """Return why no card can be used, or None."""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is built without it"
    if not torch.cuda.is_available():
        return "torch sees no card (driver missing or older than this torch wants, or none visible)"
    return None


def count() -> int:
    """Return how many cards this process can see."""
    return torch.cuda.device_count()
