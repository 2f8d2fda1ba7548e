"""Tensors: each made from the source anew and compared bit for bit with what lies on the disk."""

from __future__ import annotations

import torch
from torch import Tensor

from convert.checks.case import Case, Fault, Faults
from convert.progress import progress
from danlu.base.errors import UserError
from danlu.model.laid import tied_names
from danlu.model.layout import Target

SEEN = 3  # places of a tensor that are named


def check(case: Case) -> Faults:
    """Yield every tensor that is missing, too many, of another kind, or different in a single bit."""
    targets, disk = case.recipe.targets, case.disk
    for name in sorted(set(disk) - targets.keys()):
        yield from _extra(case, name)
    equal = 0
    with progress("comparing", case.recipe.size) as done:
        for name, target in targets.items():
            faults = list(_one(case, target))
            yield from faults
            equal += not faults
            done(disk.stored[name].nbytes if name in disk else 0)
    case.measured["tensors"] = {"compared": len(targets), "equal": equal}


def _extra(case: Case, name: str) -> Faults:
    head, embedding = tied_names(case.recipe.family)
    tied = case.recipe.source.cfg.tie_word_embeddings and name == head and embedding in case.disk
    if not (tied and torch.equal(case.disk.get(name), case.disk.get(embedding))):
        yield Fault(name, "belongs to no part of the model")


def _one(case: Case, target: Target) -> Faults:
    name, stored = target.name, case.disk.stored.get(target.name)
    if stored is None:
        yield Fault(name, "is missing")
    elif stored.shape != target.shape:
        yield Fault(name, f"is {stored.shape}, the model's is {target.shape}")
    elif case.ours and stored.dtype != case.recipe.number(target):
        yield Fault(name, f"is {stored.dtype}, {case.recipe.number(target)} was to be written")
    elif not stored.dtype.is_floating_point:
        yield Fault(name, f"holds {stored.dtype}, weights are real numbers")
    elif stored.dtype != (most := case.recipe.number(target)) and stored.dtype.itemsize <= most.itemsize:
        yield Fault(name, f"is {stored.dtype}, most of the weights are {most}")
    else:
        found = case.disk.get(name)
        try:
            wanted = case.recipe.expected(target, found.dtype)
        except UserError as error:
            yield Fault(name, error.problem)
            return
        yield from _differences(name, found, wanted)


def _differences(name: str, found: Tensor, wanted: Tensor) -> Faults:
    if not bool(torch.isfinite(wanted).all()):
        yield Fault(name, "holds NaN or infinity, already in the source or for the number format's sake")
    if same_bits(found, wanted):
        return
    same = _bits(found) == _bits(wanted)
    wrong = (~same.view(-1, found.element_size()).all(1)).nonzero().squeeze(1)
    places = ", ".join(str(_place(int(at), found.shape)) for at in wrong[:SEEN])
    more = " ..." if len(wrong) > SEEN else ""
    yield Fault(name, f"{len(wrong):,} of {found.numel():,} numbers are not the source's, at {places}{more}")


def same_bits(found: Tensor, wanted: Tensor) -> bool:
    """Return whether two tensors are the same, the sign of a zero and the kind of a NaN included."""
    alike = found.shape == wanted.shape and found.dtype == wanted.dtype
    return alike and torch.equal(_bits(found), _bits(wanted))


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


def _place(at: int, shape: torch.Size) -> list[int]:
    place: list[int] = []
    for size in reversed(shape):
        place.insert(0, at % size)
        at //= size
    return place
