"""What others read in a config.json: our keys of it, as each version of transformers finds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from danlu.base.config import flat
from danlu.model.families import OURS, from_hf, own

OF_TRAINING = {
    "initializer_range",
    "may_stay",
    "moe.balance",
    "moe.balance_coef",
    "moe.bias_update_speed",
}
"""Keys that say nothing of what the model answers."""
OLDER = ("rope_theta", "rope_scaling")
"""Where transformers 4 looks for how positions turn."""


class Difference(NamedTuple):
    """One of our keys that reads otherwise."""

    key: str
    found: Any
    wanted: Any


def differences(described: dict[str, Any], wanted: dict[str, Any]) -> Iterator[Difference]:
    """Yield each key in which a config.json means another model than the one wanted, to any reader."""
    meant, told = _read(wanted), set()
    for version in _versions(described):
        found = _read(version)
        for key in sorted(meant.keys() | found.keys()):
            if key not in OF_TRAINING and key not in told and found.get(key) != meant.get(key):
                told.add(key)
                yield Difference(key, found.get(key), meant.get(key))


def _versions(described: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what there is, and where it says how positions turn twice, each way alone."""
    yield described
    if described.get("rope_parameters") and described.keys() & set(OLDER):
        yield {key: value for key, value in described.items() if key != "rope_parameters"}
        yield {key: value for key, value in described.items() if key not in OLDER}


def _read(described: dict[str, Any]) -> dict[str, Any]:
    """Return our keys of a config.json as somebody reads it who does not know us."""
    stays = described.get("model_type") == own.FAMILY.model_type  # which nobody else reads, and says no more
    foreign = {key: value for key, value in described.items() if stays or key != OURS}
    return flat(from_hf(foreign).model_dump(mode="json"))
