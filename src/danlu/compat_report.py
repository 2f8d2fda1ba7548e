"""`danlu compat report`: how every operator that the engine uses stands on this device.

The operators are not a list that somebody keeps: two small models are trained for a step and asked for a few
words under a recorder, so the report holds what this version really calls on this device.
"""

from __future__ import annotations

import json
from typing import Any

import click

ORDER = ("missing", "fallback", "native")


@click.command()
@click.option("--device", "kind", default="auto", show_default=True, help="The device to ask about.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def command(kind: str, as_json: bool) -> None:
    """Print how every operator that the engine uses stands on this device.

    native: a kernel of the device's own. fallback: none, so the processor computes it, at the price of two
    copies; gradients are kept. missing: none, and this back-end was told to compute nothing elsewhere.

    \b
    danlu compat report
    danlu compat report --json > report.json     to attach to a report
    """
    found = examine(kind)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    click.echo(f"{found['device']}, torch {found['torch']}, policy {found['policy']}\n")
    for name, one in found["operations"].items():
        click.echo(f"  {name:<16}{one['by']:<10}{one['why']}")
    click.echo("")
    for name, standing in sorted(found["operators"].items(), key=lambda one: (ORDER.index(one[1]), one[0])):
        click.echo(f"  {standing:<10}{name}")
    counts = [
        f"{list(found['operators'].values()).count(standing)} {standing}" for standing in reversed(ORDER)
    ]
    click.echo("\n" + ", ".join(counts) + (f"\nerror: {found['stopped']}" if found["stopped"] else ""))


def examine(kind: str) -> dict[str, Any]:
    """Return the report as one dictionary."""
    import torch

    from danlu.device import api, kernels, policy

    device = api.choose(kind)
    used, stopped = operators(device)
    return {
        "device": device.name,
        "kind": device.kind,
        "torch": torch.__version__,
        "policy": policy.policy(),
        "operations": operations(device),
        "operators": {name: kernels.standing(name, device.kind) for name in sorted(used)},
        "counts": {name: vars(one) for name, one in policy.counts.items()},
        "stopped": stopped,
    }


def operations(device: Any) -> dict[str, dict[str, str]]:
    """Return for each of the model's operations who computes it here, and why not the device's own."""
    from danlu.device import faster, ops, policy

    ops.probe()
    names = faster.examples(device.torch)
    found = {}
    for name in names:
        reason = policy.counts[name].put_aside if name in policy.counts else ""
        fused = name in device.ops and not reason
        why = reason or ("" if fused else "the device has none of its own")
        found[name] = {"by": "fused" if fused else "plain", "why": why}
    return found


def operators(device: Any) -> tuple[set[str], str]:
    """Return the names of the operators the engine calls here, and what stopped it from calling more."""
    from danlu.device import kernels

    used: set[str] = set()
    for preset in ("tiny", "tiny-moe"):
        try:
            used |= kernels.recorded(lambda preset=preset: exercise(preset, device))  # type: ignore[misc]
        except (RuntimeError, NotImplementedError) as error:
            return used, str(error).splitlines()[0]
    return used, ""


def exercise(preset: str, device: Any) -> None:
    """Train a small model for one step on packed rows, then let it answer a prompt."""
    import torch

    from danlu.device import ops
    from danlu.generate import engine
    from danlu.generate.sample import Sampling
    from danlu.hub import models
    from danlu.model import build, config
    from danlu.tokenizer.tokenizer import Tokenizer

    cfg = config.resolve(preset)
    device.seed(0)
    model = build.build(cfg, device.torch)
    tokens_BT = torch.randint(0, cfg.vocab_size, (2, 32)).to(device.torch)
    samples_BT = torch.arange(4).repeat_interleave(16).view(2, 32).to(device.torch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=device.traits.fused_adamw)
    with device.autocast(device.default_dtype()):
        output = model(tokens_BT, samples_BT=samples_BT)
        hidden_NC, head_VC = model.scored(output.hidden.flatten(0, 1))
        nll_N = ops.cross_entropy(hidden_NC, head_VC, tokens_BT.flatten())
    (nll_N.sum() + (0 if output.balance is None else output.balance.sum())).backward()
    optimizer.step()
    tokenizer = Tokenizer.load(models.folder("starter"))
    engine.complete(model, tokenizer, [[1, 2, 3]], Sampling(max_tokens=3))
