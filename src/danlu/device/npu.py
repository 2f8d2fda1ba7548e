"""Ascend chips, through torch_npu.

Two classes of chip go by nearly one name, so nothing here matches on a prefix of it:

    910A class   Ascend910A, ProA, PremiumA, Ascend910B, ProB    float16 only, saturates, no flash attention
    910B class   Ascend910B1 ... B4, Ascend910_93xx               bfloat16, Inf and NaN, flash attention

torch_npu itself answers which it is. On the first, bfloat16 autocast would quietly become float32, so
it is refused here, and an overflow is a sticky flag of the device instead of an Inf.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from danlu.base.errors import UserError
from danlu.device import npu_grouped, npu_settings, policy
from danlu.device.device import Device, Traits

# HCCL's sums (hiascend HcclAllReduce); no float64 on either class.
OLD_SUMS = frozenset((torch.float16, torch.float32, torch.int8, torch.int32, torch.int64))
NEW_SUMS = OLD_SUMS | {torch.bfloat16, torch.int16}
HIDDEN_2048 = 2048  # side of the triangle npu_fusion_attention wants for its compressed masks
DOWN_RIGHT, BAND = 3, 4  # its sparse modes: causal, causal within a window

_borders: WeakIdKeyDictionary = WeakIdKeyDictionary()


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm in one kernel."""
    return _torch_npu().npu_rms_norm(x, weight.to(x.dtype), epsilon=eps)[0]


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up in one kernel, which wants both halves in one tensor."""
    return _torch_npu().npu_swiglu(torch.cat([gate, up], dim=-1), dim=-1)


def rotary(q_BTHD: Tensor, k_BTHD: Tensor, cos_BTD: Tensor, sin_BTD: Tensor) -> Any:
    """Turn queries and keys by their positions."""
    if cos_BTD.shape[-1] != q_BTHD.shape[-1]:
        return NotImplemented
    cos_BT1D, sin_BT1D = (turn.unsqueeze(2).to(q_BTHD.dtype) for turn in (cos_BTD, sin_BTD))
    return tuple(_torch_npu().npu_rotary_mul(x, cos_BT1D, sin_BT1D) for x in (q_BTHD, k_BTHD))


def attention(
    q_BTHD: Tensor,
    k_BSKD: Tensor,
    v_BSKD: Tensor,
    layout: Any,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Any:
    """Causal attention inside each sample of a packed batch; its mask says True for hidden."""
    if layout.bounds is None or softcap is not None:
        return NotImplemented
    each_end = ends(layout.bounds, q_BTHD.shape[0] * q_BTHD.shape[1])
    hidden = torch.ones(HIDDEN_2048, HIDDEN_2048, dtype=torch.bool, device=q_BTHD.device).triu(1)
    out_NHD = _torch_npu().npu_fusion_attention(
        q_BTHD.flatten(0, 1),
        k_BSKD.flatten(0, 1),
        v_BSKD.flatten(0, 1),
        q_BTHD.shape[2],
        "TND",
        atten_mask=hidden,
        scale=scale,
        pre_tockens=2147483647 if window is None else window - 1,
        next_tockens=0,
        actual_seq_qlen=each_end,
        actual_seq_kvlen=each_end,
        sparse_mode=DOWN_RIGHT if window is None else BAND,
    )[0]
    return out_NHD.view_as(q_BTHD)


def ends(bounds: Tensor, N: int) -> list[int]:
    """Return where each sample ends, padding after the last one too; waits once a batch, not once a layer."""
    if bounds not in _borders:
        found = bounds[1:].tolist()
        _borders[bounds] = found if found and found[-1] == N else [*found, N]
    return _borders[bounds]


TABLE: dict[str, Callable[..., Any]] = {
    "grouped_matmul": npu_grouped.grouped_matmul,
    "rms_norm": rms_norm,
    "swiglu": swiglu,
    "rotary": rotary,
    "attention": attention,
}
OLD_TABLE = {"rotary": rotary}  # the only one of them that the 910A class has


class Npu(Device):
    """One chip."""

    kind = "npu"
    backend = "hccl"

    def __init__(self, index: int) -> None:
        new = bool(_chips().is_bf16_supported())
        inf_nan = bool(_chips().utils.is_support_inf_nan())
        sums = NEW_SUMS if new else OLD_SUMS
        super().__init__(index, _chips().get_device_name(index), Traits(new, inf_nan, new, new, sums))
        self.ops = TABLE if new else OLD_TABLE

    def default_dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.traits.bf16 else torch.float16

    def check(self, dtype: torch.dtype) -> None:
        if dtype is torch.bfloat16 and not self.traits.bf16:
            raise UserError(
                f"dtype: {self.name} has no bfloat16; torch_npu would compute in float32", "dtype=float16"
            )

    def clear_overflow(self) -> None:
        if not self.traits.inf_nan:
            _chips().clear_npu_overflow_flag()

    def overflowed(self) -> bool:
        return not self.traits.inf_nan and bool(_chips().get_npu_overflow_flag())

    def repeat_exactly(self) -> None:
        for name, value in npu_settings.REPEATING.items():
            os.environ.setdefault(name, value)
        super().repeat_exactly()  # of which torch_npu tells the vendor's libraries

    def why_no_compile(self) -> str | None:
        return "torch.compile is not used on Ascend: what it would need has not been proved here"


def open_device(index: int) -> Npu:
    """Make chip `index` this process's own, set as training wants it."""
    # Read by the vendor's libraries when they are first used, which is below.
    old = not bool(_chips().is_bf16_supported())
    for name, value in npu_settings.choose(os.environ, old, policy.policy()).items():
        os.environ[name] = value
    _chips().set_device(index)
    # Compiling operators for each new shape costs minutes; the prebuilt ones take any shape.
    _chips().set_compile_mode(jit_compile=False)
    device = Npu(index)
    if device.traits.bf16:
        # Weights in the vendor's tiled format cannot be sharded or saved; the 910A class needs it for speed.
        _chips().config.allow_internal_format = False
    return device


def why_not() -> str | None:
    """Return why no chip can be used, or None: an importable torch_npu without a card is not a card."""
    if importlib.util.find_spec("torch_npu") is None:
        return "torch_npu is not installed"
    try:
        importlib.import_module("torch_npu")
    except (ImportError, RuntimeError, OSError) as error:
        return f"torch_npu does not load: {str(error).splitlines()[0]}"
    if not _chips().is_available():
        return "torch_npu is installed, but no chip can be used (driver missing, or none visible)"
    return None


def count() -> int:
    """Return how many chips this process can see."""
    return _chips().device_count()


def _chips() -> Any:
    return torch.get_device_module("npu")


def _torch_npu() -> Any:
    return importlib.import_module("torch_npu")
