"""Dense tensor FLOP/s from vendors' data sheets, by the exact name a driver gives its chip.

The name must match whole: an "H100 PCIe" is not an "H100 80GB HBM3", a slice of a card carries its own
name, and a chip missing here has no figure at all. Figures are 16-bit products with 32-bit sums, without
structured sparsity (data sheets often print twice that). Ascend chips are absent on purpose: documents
give different figures for one name, so only the measured ceiling is shown for them.
"""

from __future__ import annotations

import torch

# In TFLOP/s. Both bfloat16 and float16, unless the name is in ONLY_FP16.
TFLOPS = {
    "NVIDIA B200": 2250.0,
    "NVIDIA H200": 989.4,
    "NVIDIA H200 NVL": 835.5,
    "NVIDIA H100 80GB HBM3": 989.4,
    "NVIDIA H100 NVL": 835.5,
    "NVIDIA H100 PCIe": 756.5,
    "NVIDIA H800": 989.4,
    "NVIDIA H800 PCIe": 756.5,
    "NVIDIA H20": 148.0,
    "NVIDIA A100-SXM4-40GB": 312.0,
    "NVIDIA A100-SXM4-80GB": 312.0,
    "NVIDIA A100-PCIE-40GB": 312.0,
    "NVIDIA A100 80GB PCIe": 312.0,
    "NVIDIA A800-SXM4-40GB": 312.0,
    "NVIDIA A800-SXM4-80GB": 312.0,
    "NVIDIA A800 80GB PCIe": 312.0,
    "NVIDIA A30": 165.0,
    "NVIDIA A10": 125.0,
    "NVIDIA L40S": 362.0,
    "NVIDIA L20": 119.5,
    "NVIDIA L4": 121.0,
    "NVIDIA RTX A6000": 154.8,
    "NVIDIA GeForce RTX 4090": 165.2,
    "NVIDIA GeForce RTX 3090": 71.2,
    "Tesla V100-SXM2-16GB": 125.0,
    "Tesla V100-SXM2-32GB": 125.0,
    "Tesla V100-PCIE-16GB": 112.0,
    "Tesla V100-PCIE-32GB": 112.0,
    "Tesla V100S-PCIE-32GB": 130.0,
    "Tesla T4": 65.0,
}
ONLY_FP16 = ("Tesla V100", "Tesla T4")


def peak(name: str, dtype: torch.dtype) -> float | None:
    """Return the FLOP/s of the chip called `name`, or None when it is not known.

    >>> peak("NVIDIA A100-SXM4-80GB", torch.bfloat16)
    312000000000000.0
    >>> peak("NVIDIA A100-SXM4-80GB MIG 1g.10gb", torch.bfloat16) is None
    True
    """
    if dtype not in (torch.bfloat16, torch.float16):
        return None
    if dtype is torch.bfloat16 and name.startswith(ONLY_FP16):
        return None
    tflops = TFLOPS.get(name)
    return None if tflops is None else tflops * 1e12
