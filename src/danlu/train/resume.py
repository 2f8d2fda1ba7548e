"""Going on where a run stopped: which checkpoint, whether it is the same run, and its random state."""

from __future__ import annotations

import base64
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from danlu.base import config
from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.checkpoint.store import Store
from danlu.device.api import Device
from danlu.train.config import TrainConfig

# Keys that change where, how fast or how loudly, but not what is learned; micro_batch does where rows
# are as wide as one (packing=budget).
OPERATIONAL = {
    "resume", "accept_changes", "run_dir", "out", "name", "save_every", "keep", "eval_every",
    "trackers", "max_hours", "device", "micro_batch", "parallel", "compile", "deterministic", "recompute",
    "bad_step", "spike", "spike_norm", "data.workers",
}  # fmt: skip


def find(asked: bool | str, store: Store) -> Path | None:
    """Return the checkpoint to go on from: the newest whole one, or the one a path names."""
    if asked is False:
        return None
    if isinstance(asked, str) and asked not in ("true", "True"):
        path = Path(asked)
        if not path.is_dir():
            raise UserError(
                f"resume: {asked}: no such folder",
                "a folder like runs/<name>/<time>/step-000500, or resume=true",
            )
        found = store.verified(path) if path.name.startswith("step-") else store.newest(path)
        if found is None:
            raise UserError(
                f"resume: {asked}: holds no whole checkpoint", "another step-... folder, or resume=true"
            )
        return found
    found = store.newest()
    if found is None:
        say(f"resume: no checkpoint in {store.folder} yet: starting from the beginning")
    return found


def compare(old: dict[str, Any], new: TrainConfig, accept: bool) -> None:
    """Show which keys changed since the run was stopped; refuse those that change what is learned."""
    before, after = config.flat(old), config.flat(new.model_dump(mode="json", by_alias=True))
    changed = [key for key in sorted(before | after) if before.get(key) != after.get(key)]
    # A key that did not exist yet when the run was stopped, and is unset: nothing differs.
    changed = [key for key in changed if key in before or after[key]]
    free = OPERATIONAL - {"micro_batch"} if after.get("packing") == "budget" else OPERATIONAL
    serious = [key for key in changed if not {key, key.split(".")[0]} & free]
    for key in changed:
        if key.split(".")[0] not in ("resume", "accept_changes"):
            say(f"changed since the stop: {key}: {before.get(key)!r} -> {after.get(key)!r}")
    if serious and not accept:
        words = ", ".join(f"{key} {before.get(key)!r} -> {after.get(key)!r}" for key in serious)
        raise UserError(
            f"resume: the stopped run had other settings: {words}", "the old values, or accept_changes=true"
        )


def random_state(device: Device) -> dict[str, Any]:
    """Return every random generator's state as plain data."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, words, gauss_next = random.getstate()
    return {
        "python": [version, list(words), gauss_next],
        "numpy": [kind, np.asarray(keys).tolist(), int(position), int(has_gauss), float(gauss)],
        "torch": _text(torch.get_rng_state()),
        "device": _text(device.rng_state()),
        "kind": device.kind,
    }


def restore_random_state(device: Device, state: dict[str, Any]) -> None:
    """Put back what `random_state` returned; a device of another kind keeps its own."""
    version, words, gauss_next = state["python"]
    random.setstate((version, tuple(words), gauss_next))
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(_tensor(state["torch"]))
    if state["kind"] == device.kind:
        device.set_rng_state(_tensor(state["device"]))


def _text(state: torch.Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _tensor(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
