"""config.json: what we write, to the letter; and what others read in it, field by field, is the model.

Written elsewhere, it need not have our letters, so only its meaning counts: read as any foreign file would
be, and with what it says twice said the same way both times.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from convert import serving
from convert.checks import elsewhere
from convert.checks.case import Case, Fault, Faults
from convert.export import generation
from convert.reading import read_json
from danlu.base.config import flat
from danlu.base.errors import UserError
from danlu.model.families import OURS, from_hf, own

OF_TRAINING = {
    "initializer_range",
    "may_stay",
    "moe.balance",
    "moe.balance_coef",
    "moe.bias_update_speed",
}
"""Keys that say nothing of what the model answers."""
TWICE = (
    ("rope_theta", "rope_parameters.rope_theta"),
    ("num_experts", "num_local_experts"),
    ("num_experts", "n_routed_experts"),
    ("num_local_experts", "n_routed_experts"),
    ("dtype", "torch_dtype"),
    ("partial_rotary_factor", "rope_parameters.partial_rotary_factor"),
)
"""What one version reads here and another there."""
OLDER = ("rope_theta", "rope_scaling")
"""Where transformers 4 looks for how positions turn."""


def check(case: Case) -> Faults:
    """Yield every key that is not what the model is."""
    if case.ours:
        yield from _compare("config.json", case.described, case.recipe.config())
        beside = {"generation_config.json": generation(case.recipe)}
        if not case.brought_in:
            beside[serving.FILE] = serving.profile(case.recipe)
        for name, wanted in beside.items():
            yield from _compare(name, read_json(case.folder / name), wanted)
    else:
        yield from elsewhere.check(case)
    yield from _twice(case)
    yield from _meaning(case)


def _compare(name: str, found: dict[str, Any], wanted: dict[str, Any]) -> Faults:
    found, wanted = flat(found), flat(wanted)
    for key in sorted(found.keys() | wanted.keys()):
        if key not in found:
            yield Fault(f"{name}: {key}", f"is missing, {wanted[key]!r} was to be written")
        elif key not in wanted:
            yield Fault(f"{name}: {key}", f"is {found[key]!r}, and was not to be there")
        elif _listed(found[key]) != _listed(wanted[key]):
            yield Fault(f"{name}: {key}", f"is {found[key]!r}, {wanted[key]!r} was to be written")


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _twice(case: Case) -> Faults:
    found = flat(case.described)
    scaling = [key for key in found if key.startswith("rope_scaling.")]
    pairs = [(key, key.replace("rope_scaling.", "rope_parameters.")) for key in scaling]
    for one, other in (*TWICE, *pairs):
        if one in found and other in found and found[one] != found[other]:
            yield Fault(f"config.json: {one}", f"is {found[one]!r}, and {other} is {found[other]!r}")


def _meaning(case: Case) -> Faults:
    """Compare what each reader makes of it: this program, and both versions of transformers."""
    wanted = _read(case.recipe.config())
    told: set[str] = set()
    for described in _versions(case.described):
        try:
            found = _read(described)
        except UserError as error:
            yield Fault("config.json", error.problem)
            return
        for key in sorted(wanted.keys() | found.keys()):
            if key not in OF_TRAINING and key not in told and found.get(key) != wanted.get(key):
                told.add(key)
                problem = f"reads as {found.get(key)!r}, the model has {wanted.get(key)!r}"
                yield Fault(f"config.json: {key}", problem)


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
