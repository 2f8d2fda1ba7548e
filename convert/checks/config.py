"""config.json: what we write, to the letter; and what others read in it, field by field, is the model.

Written elsewhere, it need not have our letters, so only its meaning counts: read as any foreign file would
be, and with what it says twice said the same way both times.
"""

from __future__ import annotations

from typing import Any

from convert import serving
from convert.checks import elsewhere
from convert.checks.case import Case, Fault, Faults
from convert.export import generation
from convert.meaning import differences
from convert.reading import read_json
from danlu.base.config import flat
from danlu.base.errors import UserError

TWICE = (
    ("rope_theta", "rope_parameters.rope_theta"),
    ("num_experts", "num_local_experts"),
    ("num_experts", "n_routed_experts"),
    ("num_local_experts", "n_routed_experts"),
    ("dtype", "torch_dtype"),
    ("partial_rotary_factor", "rope_parameters.partial_rotary_factor"),
)
"""What one version reads here and another there."""


def check(case: Case) -> Faults:
    """Yield every key that is not what the model is."""
    if case.ours:
        yield from compare("config.json", case.described, case.recipe.config())
        beside = {"generation_config.json": generation(case.recipe)}
        if not case.brought_in:
            beside[serving.FILE] = serving.profile(case.recipe).as_dict()
        for name, wanted in beside.items():
            yield from compare(name, read_json(case.folder / name), wanted)
    else:
        yield from elsewhere.check(case)
    yield from _twice(case)
    yield from _meaning(case)


def compare(name: str, found: dict[str, Any], wanted: dict[str, Any]) -> Faults:
    """Yield every key of a file that is not as it was to be written."""
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
    try:
        for key, found, wanted in differences(case.described, case.recipe.config()):
            yield Fault(f"config.json: {key}", f"reads as {found!r}, the model has {wanted!r}")
    except UserError as error:
        yield Fault("config.json", error.problem)
