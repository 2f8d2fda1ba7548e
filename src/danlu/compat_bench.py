"""`danlu compat bench`: the device's fused operations beside the plain ones, in milliseconds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import click


@click.command()
@click.option("--device", "kind", default="auto", show_default=True, help="The device to measure.")
@click.option(
    "--warmup", default=5, show_default=True, type=click.IntRange(0), help="Calls before measuring."
)
@click.option("--iterations", default=20, show_default=True, type=click.IntRange(1), help="Calls measured.")
@click.option("--tokens", default=4096, show_default=True, type=click.IntRange(16), help="Tokens of a batch.")
@click.option("--width", default=512, show_default=True, type=click.IntRange(64), help="Width of the model.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def command(kind: str, warmup: int, iterations: int, tokens: int, width: int, as_json: bool) -> None:
    """Time the device's fused operations beside the plain ones, forward and backward.

    The median of --iterations calls, each waited for. Where the device has none of its own, the plain one
    stands alone.

    \b
    danlu compat bench
    danlu compat bench --device cpu --tokens 512 --iterations 5 --json
    """
    from danlu.device import api, faster

    device = api.choose(kind)
    found: dict[str, Any] = {"device": device.name, "tokens": tokens, "width": width, "milliseconds": {}}
    for name, (plain, arguments) in faster.examples(device.torch, tokens, width).items():
        timed = {"plain": milliseconds(plain, arguments, device, warmup, iterations)}
        if name in device.ops:
            timed["fused"] = milliseconds(device.ops[name], arguments, device, warmup, iterations)
        found["milliseconds"][name] = timed
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    click.echo(f"{found['device']}: {tokens} tokens, {width} wide, forward and backward, ms\n")
    click.echo(f"  {'':<16}{'plain':>10}{'fused':>10}")
    for name, timed in found["milliseconds"].items():
        cells = (
            f"{timed[way]:>10.3f}" if timed.get(way) is not None else f"{'-':>10}"
            for way in ("plain", "fused")
        )
        click.echo(f"  {name:<16}" + "".join(cells))


def milliseconds(
    function: Callable[..., Any], arguments: tuple[Any, ...], device: Any, warmup: int, iterations: int
) -> float | None:
    """Return the median time of a call with its backward pass; None where it does not know the arguments."""
    from danlu.device import faster

    taken = []
    for number in range(warmup + iterations):
        device.synchronize()
        began = time.perf_counter()
        if faster.with_gradients(function, arguments) is None:
            return None
        device.synchronize()
        if number >= warmup:
            taken.append(time.perf_counter() - began)
    return sorted(taken)[len(taken) // 2] * 1e3
