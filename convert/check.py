"""`python -m convert check`: hold an export against what it was made from."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch

from convert import manifest, options
from convert.adapter import Adapter
from convert.checks import config, engine, files, logits, tensors, words
from convert.checks.case import CannotCheck, Case, Fault, Faults
from convert.minimind import Hints, hints_for
from convert.opening import open_source
from convert.own_head import with_own_head
from convert.reading import read_json
from convert.recipe import Recipe, architecture
from convert.source import Source
from danlu.base import paths
from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.model.disk import Disk
from danlu.model.families import OURS, Family, from_hf, laid_out_as
from danlu.model.laid import STACKS

Check = Callable[[Case], Faults]
ANSWERS: tuple[Check, ...] = (logits.check, engine.check)
# Cheapest first.
LOOK: tuple[Check, ...] = (files.check, tensors.check, config.check)
BY_CHECK: dict[str, tuple[Check, ...]] = {
    "tensors": LOOK,
    "logits": (*LOOK, words.check, logits.check),
    "vllm": (*LOOK, words.check, logits.check, engine.check),
}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--against", required=True, help="What it was made from: weights, a run, a checkpoint, a name.")
@options.adapter
@click.option(
    "--check", type=click.Choice(list(BY_CHECK)), default="logits", show_default=True, help="How far."
)
@options.tokenizer
@click.option("--brought-in", is_flag=True, hidden=True)
@click.option("--called", hidden=True)
@click.option("--report", type=click.Path(path_type=Path), help="Also write what was found as JSON.")
def command(
    folder: Path,
    against: str,
    adapter: Path | None,
    check: str,
    tokenizer: Path | None,
    brought_in: bool,
    called: str | None,
    report: Path | None,
) -> None:
    """Check FOLDER, an export, and name the place of every fault. Ends with 1 if there is one.

    \b
    python -m convert check out/full_sft_512-hf --against out/full_sft_512
    python -m convert check out/full_sft_512-hf --against out/full_sft_512 --check vllm
    """
    called = called or str(folder)
    if report:
        paths.need_writable(report.parent)
    case = open_case(folder, against, adapter, tokenizer, brought_in)
    faults = []
    for fault in found_by(case, BY_CHECK[check]):
        line = f"fault: {fault.place}: {fault.problem}".replace(str(folder), called)
        print(line, file=sys.stderr, flush=True)
        faults.append(fault._asdict())
    if report:
        text = json.dumps({"faults": faults, "measured": case.measured}, ensure_ascii=False, indent=2)
        report.parent.mkdir(parents=True, exist_ok=True)
        paths.write_text(report, text)
    if faults:
        say(f"{called}: {len(faults)} {'fault' if len(faults) == 1 else 'faults'}")
        sys.exit(1)
    say(f"{called}: right. {summary(case.measured)}")


def open_case(
    folder: Path,
    against: str,
    adapter: Path | None = None,
    tokenizer: Path | None = None,
    brought_in: bool = False,
) -> Case:
    """Return what is to be checked against what."""
    described = read_json(folder / "config.json")
    if not described:
        raise UserError(f"{folder}: holds no config.json", "a folder that was exported")
    brought_in = brought_in or bool(manifest.read(folder).get("brought_in"))
    source = open_source(against, hints_of(described, against), tokenizer)
    family = laid_out_as(source.cfg) if brought_in else family_of(folder, source, described)
    if not brought_in and has_own_head(folder, described):
        source = with_own_head(source, family)
    number = None if brought_in else number_of(folder, described)
    recipe = Recipe(source, family, number, Adapter(adapter) if adapter else None, stacks_of(folder))
    return Case(folder, recipe, described, brought_in)


def family_of(folder: Path, source: Source, described: dict[str, Any]) -> Family:
    """Return the architecture it was written as; where what it says cannot be, the one that it must be."""
    named = manifest.read(folder).get("architecture") or described.get("model_type")
    try:
        return architecture(source.cfg, str(named))
    except UserError:  # told by the check of config.json as what it is
        return architecture(source.cfg, "auto")


def has_own_head(folder: Path, described: dict[str, Any]) -> bool:
    """Return whether a head may be written out: always by us, elsewhere where it says so."""
    return bool(manifest.read(folder)) or OURS in described or not described.get("tie_word_embeddings", False)


def number_of(folder: Path, described: dict[str, Any]) -> torch.dtype | None:
    """Return the number format of most of its weights; where they cannot be read, what it says."""
    said = getattr(torch, str(described.get("dtype") or described.get("torch_dtype")), None)
    try:
        found = {dtype: count for dtype, count in Disk(folder).dtypes().items() if dtype.is_floating_point}
    except UserError:  # told by the checks as what it is
        found = {}
    return max(found, key=lambda dtype: found[dtype], default=said)


def stacks_of(folder: Path) -> tuple[str, ...]:
    """Return the stacks of experts that lie in a folder whole, as `experts merge` writes them."""
    try:
        return tuple(name for name in Disk(folder) if name.endswith(STACKS))
    except UserError:  # told by the checks as what it is
        return ()


def hints_of(described: dict[str, Any], against: str) -> Hints | None:
    """Return what a .pth file cannot say of its model and a folder made of one does."""
    known = Path(against).suffix == ".pth" and isinstance(described.get(OURS), dict)
    return hints_for(from_hf(described)) if known else None


def found_by(case: Case, checks: tuple[Check, ...]) -> Faults:
    """Yield every fault; answers are not asked for where they could only show again what was found."""
    found = 0
    for one in checks:
        if found and one in ANSWERS:
            return
        try:
            faults = list(one(case))
        except CannotCheck:
            raise
        except UserError as error:
            faults = [Fault(str(case.folder), error.problem)]
        yield from faults
        found += len(faults)


def summary(measured: dict[str, Any]) -> str:
    """Return what was measured, for a person."""
    told = [f"{measured['tensors']['equal']} tensors equal to the bit"] if "tensors" in measured else []
    if measured.get("logits"):
        told.append(f"logits within {measured['logits']['largest_difference']:.1e} of transformers'")
        told.append(f"greedy tokens equal on {measured['greedy']['equal']} prompts")
    if "rounding" in measured:
        moved = measured["rounding"]["largest_change_of_a_logit"]
        told.append(f"the number format moved a logit by {moved:.1e} at most")
    if "vllm" in measured:
        told.append(f"vLLM's tokens equal on {measured['vllm']['equal']}")
    return "; ".join(told)
