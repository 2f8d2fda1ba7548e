"""LoRA adapters beside one model: each request names one, or none, and a batch may mix them.

    adapters = Adapters(model, "out/base")        which names its weights have is told by the folder
    adapters.load("poet", "out/poet")             a folder that PEFT wrote
    engine = Engine(model, tokenizer, adapters=adapters)
    engine.add(0, prompt, sampling, adapter="poet")

Each changed product gets what its rows' adapters add: y += scale * (x A^T) B^T. The weights stay as they
are, packed or not, and rows that name no adapter pay nothing.

An adapter is told in the tensors of a published architecture, some of which hold several of ours, or
one of ours turned. Its factors are cut accordingly: rows of B for the piece, columns of A for the order.
What is no matrix product here (experts, embeddings, the head, weights trained whole) is refused by name.

Letters: B rows, T tokens, C and F widths of a product, R ranks.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from danlu.base.errors import UserError, nearest
from danlu.model import layout
from danlu.model.adapter import Adapter
from danlu.model.config import read_type
from danlu.model.decoder import Decoder
from danlu.model.families import get, laid_out_as
from danlu.model.families.family import Family
from danlu.model.layout import Made, Target

Factors = tuple[Tensor, Tensor]
"""A [R, C], and B [F, R] times the scale."""
MERGE = "merge it into the weights instead: python -m convert to-hf BASE --adapter FOLDER"


class Adapters:
    """The adapters of one model, by name."""

    def __init__(self, model: Decoder, folder: str | Path | None = None) -> None:
        self.model = model
        self.folder = Path(folder) if folder else None
        self._factors: dict[str, dict[str, Factors]] = {}
        self._numbers: dict[str, int] = {}
        self._loaded = 0
        self._changed: set[str] = set()
        self._now: list[tuple[Tensor | None, dict[str, Factors]]] = []
        """Which rows of the forward under way get what; None: all."""
        self._rows = 0

    def __contains__(self, name: str) -> bool:
        return name in self._factors

    @property
    def names(self) -> list[str]:
        """The adapters there are."""
        return list(self._factors)

    @functools.cached_property
    def _family(self) -> Family:
        return get(read_type(self.folder)) if self.folder else laid_out_as(self.model.cfg)

    @functools.cached_property
    def _targets(self) -> dict[str, Target]:
        return layout.plan(self._family, self.model.cfg)

    def load(self, name: str, folder: str | Path) -> None:
        """Add an adapter from a folder in PEFT's format; one of the same name is replaced."""
        adapter = Adapter(Path(folder))
        found: dict[str, Factors] = {}
        for weight in sorted([*adapter.replaced, *adapter.factors]):
            target = self._targets.get(weight)
            if target is None:
                raise UserError(
                    f"{folder}: {weight}: the model has no such tensor",
                    "the base model that the adapter was made on",
                )
            if weight in adapter.replaced:
                raise UserError(f"{folder}: {weight}: is trained whole, no product to be added to", MERGE)
            for made in target.pieces:
                found[made.unit.name.removesuffix(".weight")] = self._cut(adapter, target, made)
        for module in found:
            self._change(module)
        self._factors[name] = found
        self._loaded += 1
        self._numbers[name] = self._loaded

    def remove(self, name: str) -> None:
        """Forget an adapter; no request under way may name it."""
        self.check(name)
        del self._factors[name]

    def check(self, name: str) -> None:
        """Refuse a name that no adapter has."""
        if name and name not in self._factors:
            raise UserError(f"there is no adapter '{name}'", nearest(name, self.names))

    def identity(self, name: str) -> object:
        """Return what tells one adapter from another that had its name before."""
        return self._numbers[name] if name else 0

    @contextlib.contextmanager
    def rows(self, names: Sequence[str]) -> Iterator[None]:
        """Let the rows of the forwards inside be changed by the adapters they name."""
        now: list[tuple[Tensor | None, dict[str, Factors]]] = []
        for name in dict.fromkeys(name for name in names if name):
            chosen = [row for row, other in enumerate(names) if other == name]
            device = self.model.head_weight.device
            rows_n = None if len(chosen) == len(names) else torch.tensor(chosen, device=device)
            now.append((rows_n, self._factors[name]))
        self._rows, self._now = len(names), now
        try:
            yield
        finally:
            self._now = []

    def _change(self, path: str) -> None:
        """Let a module's product ask, with every forward, what is added to which rows."""
        if path in self._changed:
            return
        module = self.model.get_submodule(path)
        product: Callable[[Tensor], Tensor] = module.forward

        def forward(x: Tensor) -> Tensor:
            y = product(x)
            for rows_n, factors in self._now:
                if path in factors:
                    y = self._added(x, y, rows_n, *factors[path])
            return y

        object.__setattr__(module, "forward", forward)  # an attribute of this object, not one of its parts
        self._changed.add(path)

    def _added(self, x: Tensor, y: Tensor, rows_n: Tensor | None, A_RC: Tensor, B_FR: Tensor) -> Tensor:
        if rows_n is None:
            return y + F.linear(F.linear(x, A_RC), B_FR)
        x_BTC = x.reshape(self._rows, -1, x.shape[-1])  # some products see all tokens in one row
        more_nTF = F.linear(F.linear(x_BTC[rows_n], A_RC), B_FR)
        return y.reshape(self._rows, -1, y.shape[-1]).index_add(0, rows_n, more_nTF).view_as(y)

    def _cut(self, adapter: Adapter, target: Target, made: Made) -> Factors:
        """Return an adapter's factors for one of our products, a piece of the tensor that they change."""
        module = made.unit.name.removesuffix(".weight")
        plain = isinstance(self._module(module), nn.Linear) and module != "lm_head" and not made.part.place
        if not plain or self._family.reads_otherwise:
            problem = f"{target.name}: is no product that an adapter can be added to while the model answers"
            raise UserError(f"{adapter.folder}: {problem}", MERGE)
        a, b = adapter.pair(target.name)
        shape = (a.shape[1], b.shape[0]) if adapter.turned(target.name) else (b.shape[0], a.shape[1])
        if shape != target.shape:
            raise UserError(
                f"{adapter.folder}: {target.name}: is {shape}, the model's is {target.shape}",
                "the base model that the adapter was made on",
            )
        if adapter.turned(target.name):
            a, b = b.T, a.T
        A, B = _piece(a, b, target.shape, made)
        like = self.model.head_weight
        scale = adapter.scale(target.name) / made.part.factor
        return A.to(like).contiguous(), (B * scale).to(like).contiguous()

    def _module(self, path: str) -> nn.Module | None:
        try:
            return self.model.get_submodule(path)
        except AttributeError:
            return None


def _piece(a: Tensor, b: Tensor, shape: tuple[int, ...], made: Made) -> Factors:
    """Return the factors of the piece of b @ a that one of our tensors is.

    Where an element lies in the tensor on disk, its row and its column, is asked of the piece itself.
    """
    fused = made.part.fused
    if fused is None:
        return a, b
    rows, columns = (
        fused.of(numbers.expand(shape)).reshape(made.shape)
        for numbers in (torch.arange(shape[0])[:, None], torch.arange(shape[1]))
    )
    if bool((rows == rows[:, :1]).all()):
        return a[:, columns[0]], b[rows[:, 0]]
    return b[rows[0]].T, a[:, columns[:, 0]].T
