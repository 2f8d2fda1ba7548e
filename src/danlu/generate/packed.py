"""Weights laid out once for the processor, for a model that only answers.

oneDNN multiplies a matrix faster when its blocks already lie in the order its kernel reads them. A
token's forward is little else than reading every weight, so this decides the speed: 1.4 times for
one request, about 2.5 times for eight at once (fp32, AMD EPYC with AVX-512, one core). It also
makes a row's result independent of the rows beside it, to the bit.

Products of one input become one: queries, keys and values, or gate and up. The first that is asked for
computes all of them; the others find their part.

The packed copies are beside the weights, so only a model that will not change may be packed, and
only where memory holds both; elsewhere, and on every other device, nothing is done.

Letters: C and F widths of a product.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from danlu.base.log import say_once
from danlu.model.decoder import Decoder

ROWS = 16
"""Rows the layout is made for; any number may be multiplied."""
TOGETHER = (("q_proj", "k_proj", "v_proj"), ("up_proj", "gate_proj"))
"""Parts of one module that are given the same input, in the order in which they are asked."""


def pack(model: Decoder) -> bool:
    """Give a frozen model on the processor packed matrix products; return whether that was done."""
    weight = model.head_weight
    size = sum(parameter.nbytes for parameter in model.parameters())
    if weight.device.type != "cpu" or psutil.virtual_memory().available < 2 * size:
        return False
    if not supports(weight.dtype):
        return False
    done: set[nn.Module] = set()
    for module in model.modules():
        for names in TOGETHER:
            named = [getattr(module, name, None) for name in names]
            parts = [part for part in named if isinstance(part, nn.Linear)]
            if len(parts) == len(names):
                together = Together(parts)
                for number, part in enumerate(parts):
                    _replace(part, "forward", functools.partial(together.part, number))
                done.update(parts)
        if isinstance(module, nn.Linear) and module not in done:
            _replace(module, "forward", product(module.weight, module.bias))
    scores = product(weight)
    _replace(model, "logits", lambda hidden: model.bend(scores(hidden)))
    return True


class Together:
    """Some products of one input as one product."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        weights: list[Tensor] = [part.weight for part in parts]
        biases: list[Tensor] = [part.bias for part in parts if part.bias is not None]
        assert len(biases) in (0, len(parts)), "all have a bias, or none"
        self.sizes = [part.out_features for part in parts]
        self.product = product(torch.cat(weights), torch.cat(biases) if biases else None)
        self._x: Tensor | None = None
        self._ys: tuple[Tensor, ...] = ()

    def part(self, number: int, x: Tensor) -> Tensor:
        """Return one part of the product with `x`; the last one lets it go."""
        if x is not self._x:
            self._x, self._ys = x, self.product(x).split(self.sizes, -1)
        y = self._ys[number]
        if number == len(self.sizes) - 1:
            self._x, self._ys = None, ()
        return y


def product(weight_FC: Tensor, bias_F: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """Return the function x -> x @ weight.T + bias with a packed weight."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight_FC.detach(), ROWS)

    def multiply(x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, packed, bias_F, "none", [], "")

    return multiply


_supported: dict[torch.dtype, bool] = {}


def supports(dtype: torch.dtype) -> bool:
    """Return whether packed products work here, tried once on a small one."""
    if dtype not in _supported:
        x, weight = torch.randn(3, 32).to(dtype), torch.randn(48, 32).to(dtype)
        try:
            torch.testing.assert_close(product(weight)(x), F.linear(x, weight), rtol=0.05, atol=0.05)
            _supported[dtype] = True
        except (RuntimeError, AttributeError, AssertionError) as error:
            say_once(f"packed weights are not used: {str(error).splitlines()[0]}")
            _supported[dtype] = False
    return _supported[dtype]


def _replace(module: nn.Module, method: str, function: Any) -> None:
    object.__setattr__(module, method, function)  # an attribute of this object, not one of its parts
