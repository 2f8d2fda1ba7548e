"""Which device this process computes on: asked for, or found; chosen once.

    choose("npu")      what the user asked for, or an error that says why not
    choose("auto")     the accelerator torch can really use, else the processor
    current()          the one chosen; chooses by itself the first time

An importable vendor package without a card is not a card, and one process has one device: the one
with the number its launcher gave it (`LOCAL_RANK`).
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import torch

from danlu.base.errors import UserError
from danlu.base.log import say_once
from danlu.device import autoload
from danlu.device.device import Device, Traits

__all__ = ["ACCELERATORS", "Device", "Traits", "choose", "current"]

ACCELERATORS = {
    "npu": "danlu.device.npu",
    "cuda": "danlu.device.cuda",
    "cpu": "danlu.device.cpu",
}

_current: Device | None = None


def current() -> Device:
    """Return the device this process computes on."""
    return _current if _current is not None else choose()


def choose(kind: str | None = None) -> Device:
    """Choose the device of this process and return it; `kind` is auto, cpu, cuda or npu."""
    global _current
    kind = kind or "auto"
    if kind == "auto":
        kind = available()
    if kind not in ACCELERATORS:
        raise UserError(f"there is no device '{kind}'", "one of: auto, " + ", ".join(ACCELERATORS))
    module = importlib.import_module(ACCELERATORS[kind])
    reason = module.why_not()
    if reason:
        raise UserError(
            f"device: no {kind} here: {reason}", "device=auto takes what there is; 'danlu info' shows it"
        )
    index = _index(kind, module)
    if _current is None or (_current.kind, _current.index) != (kind, index):
        _current = module.open_device(index)
    return _current


def available() -> str:
    """Return the kind of accelerator that torch finds and can use, else cpu."""
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None:
        if autoload.kept_off:
            say_once(f"device: the processor is used: {autoload.kept_off}")
        return "cpu"
    if found.type not in ACCELERATORS:
        say_once(f"device: {found.type} is not supported; the processor is used")
        return "cpu"
    return found.type


def _index(kind: str, module: Any) -> int:
    """Return the number of this process's device among the host's."""
    if kind == "cpu":
        return 0
    count = module.count()
    if count == 1 and "LOCAL_RANK" not in os.environ:
        return 0  # Slurm may show each task its own card and no other
    local = int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)
    if local >= count:
        raise UserError(
            f"device: process {local} of this host has no {kind} of its own: {count} visible",
            f"start at most {count} processes here, or show more devices",
        )
    return local
