"""What only a config.json from elsewhere may say otherwise than we would, and must still say rightly."""

from __future__ import annotations

from typing import Any

from convert.checks.case import Case, Fault, Faults
from convert.reading import read_json

GENERATION = "generation_config.json"
CHANGING = ("auto_map", "quantization_config", "compression_config")
"""Keys by which readers take other code, or other numbers than lie there."""


def check(case: Case) -> Faults:
    """Yield what would let a reader take another class, other numbers or other ends than the model's."""
    family, described = case.recipe.family, case.described
    if described.get("model_type") != family.model_type:
        yield _is("model_type", described.get("model_type"), family.model_type)
    if described.get("architectures", [family.architecture]) != [family.architecture]:
        yield _is("architectures", described["architectures"], [family.architecture])
    for key in CHANGING:
        if described.get(key):
            yield Fault(f"config.json: {key}", f"is {described[key]!r}; the weights are what they are")
    number = str(case.recipe.dtype).removeprefix("torch.")
    for key in ("dtype", "torch_dtype"):
        if case.recipe.dtype and described.get(key) not in (None, number):
            yield Fault(f"config.json: {key}", f"is {described[key]!r}, most weights are {number}")
    yield from _ends(case)


def _is(key: str, found: Any, wanted: Any) -> Fault:
    return Fault(f"config.json: {key}", f"is {found!r}, the model leaves as {wanted!r}")


def _ends(case: Case) -> Faults:
    """Yield tokens that would end an answer and did not in training, or that did and would not."""
    words = case.recipe.source.tokenizer
    if words is None:
        return
    known = case.recipe.source.ends()
    files = {"config.json": case.described, GENERATION: read_json(case.folder / GENERATION)}
    for name, content in files.items():
        said = content.get("eos_token_id")
        ends = said if isinstance(said, list) else [said]
        if said is not None and (set(ends) - set(known) or words.eos_id not in ends):
            yield Fault(f"{name}: eos_token_id", f"is {said!r}, in training answers ended with {known}")
