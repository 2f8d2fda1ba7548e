"""Which of torch's operators a device has kernels for, and which of them the engine uses.

names = recorded(step)                  {"aten::mm", "aten::_softmax", ...}
standing("aten::mm", "cuda")            "native"

native      a kernel of the device's own, or one composed of such
fallback    none: the processor computes it, and two copies are made each time
missing     none, and nobody else may compute it
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

KEYS = {"cpu": "CPU", "cuda": "CUDA", "npu": "PrivateUse1"}
COMPOSED = (
    "CompositeImplicitAutograd",
    "CompositeExplicitAutograd",
    "CompositeExplicitAutogradNonFunctional",
)
REFUSES = {"npu": ("TORCH_NPU_FALLBACK_CPU_DISABLE", "1")}
"""The variable and value by which a back-end is told to compute nothing on the processor."""


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(function.name())
        return function(*args, **(kwargs or {}))


def recorded(work: Callable[[], object]) -> set[str]:
    """Return the names of all operators that `work` calls, those of backward passes too."""
    with _Recorder() as recorder:
        work()
    return recorder.names


def standing(name: str, kind: str) -> str:
    """Return how an operator stands on a kind of device: native, fallback or missing.

    >>> standing("aten::mm", "cpu")
    'native'
    """
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    key = KEYS[kind]
    if any(has(name, one) for one in (key, *COMPOSED)):
        return "native"
    variable, value = REFUSES.get(kind, ("", ""))
    return "fallback" if variable and os.environ.get(variable) != value else "missing"
