"""The cases of `danlu selfcheck` that run in one process; each returns what it measured, or raises.

Letters: B rows, T tokens.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from danlu.base.errors import UserError
from danlu.device import faster
from danlu.device.api import Device
from danlu.model import build, config
from danlu.model.size import flops_per_token

CPU = torch.device("cpu")
CLOSE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}
LEARNED = {
    "tiny": (
        *(7.660469, 7.638782, 7.360779, 7.360539, 6.781453),
        *(6.814775, 6.253701, 6.49708, 5.683787, 6.003049),
    ),
    "tiny-moe": (
        *(7.667744, 7.611405, 7.332907, 7.395342, 7.021924),
        *(6.880909, 6.254764, 6.858504, 5.733157, 6.334058),
    ),
}
"""What `losses` were on an x86-64 with torch 2.13: torch here may be at fault too."""


def operations(device: Device, folder: Path) -> dict[str, Any]:
    """Compare each operation, the device's own and the plain one, with the plain one of the processor."""
    dtype = device.default_dtype()
    differences: dict[str, float] = {}
    for name, (plain, arguments) in faster.examples(device.torch).items():
        there = [
            x.to(CPU).float() if _is_tensor(x) and x.is_floating_point() else on_cpu(x) for x in arguments
        ]
        expected = faster.with_gradients(plain, tuple(there))
        assert expected is not None
        for way, function in (("plain", plain), ("fused", device.ops.get(name))):
            found = faster.with_gradients(function, arguments) if function else None
            if found is not None:
                differences[f"{name}, {way}"] = furthest(found, expected)
    far = {name: value for name, value in differences.items() if value > CLOSE[dtype]}
    assert not far, f"too far from the processor: {far}"
    return {"dtype": str(dtype), "differences": differences}


def furthest(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """Return the largest difference, as a share of the largest number expected."""
    shares = []
    for one, other in zip(found, expected, strict=True):
        one, other = one.detach().to(CPU).float(), other.detach().float()
        shares.append(float((one - other).abs().max() / other.abs().max().clamp(min=1e-6)))
    return max(shares)


def on_cpu(value: Any) -> Any:
    if hasattr(value, "bounds"):
        return type(value)(value.bounds.to(CPU), value.longest)
    return value.to(CPU) if _is_tensor(value) else value


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def trajectory(device: Device, folder: Path) -> dict[str, Any]:
    """Train dense and with experts for a few steps, and hold the losses against LEARNED."""
    found = {}
    for preset, stored in LEARNED.items():
        here = losses(preset, device.torch, len(stored))
        worst = max(abs(a - b) / b for a, b in zip(here, stored, strict=True))
        assert worst < 1e-3, f"{preset}: {here} here, {stored} on a processor"
        found[preset] = {"losses": here, "largest_difference": worst}
    return found


def losses(preset: str, where: torch.device, steps: int) -> list[float]:
    """Return the losses of a few steps on two batches of made-up tokens, in turns, so that they fall."""
    model = build.build(config.resolve(preset), where, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    return [float(_step(model, optimizer, number % 2, (2, 64), where)) for number in range(steps)]


def _step(
    model: Any, optimizer: Any, number: int, shape: tuple[int, int], where: torch.device
) -> torch.Tensor:
    """Train for one step and return the loss, left on the device."""
    from danlu.device import ops

    generator = torch.Generator().manual_seed(number)
    tokens_BT = torch.randint(0, model.cfg.vocab_size, shape, generator=generator).to(where)
    output = model(tokens_BT)
    hidden_NC, head_VC = model.scored(output.hidden[:, :-1].flatten(0, 1))
    loss = ops.cross_entropy(hidden_NC, head_VC, tokens_BT[:, 1:].flatten()).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def resume(device: Device, folder: Path) -> dict[str, Any]:
    """Draw, keep the state, draw, put it back: the same numbers again."""
    device.seed(1)
    torch.rand(8, device=device.torch)
    kept = device.rng_state()
    first = torch.rand(8, device=device.torch)
    device.set_rng_state(kept)
    assert torch.equal(first, torch.rand(8, device=device.torch)), (
        "other numbers after the state was put back"
    )
    return {"bytes": kept.numel()}


def overflow(device: Device, folder: Path) -> dict[str, Any]:
    """Let a float16 gradient overflow, and another not."""
    scaler = device.scaler(torch.float16)
    assert scaler is not None
    weight = torch.nn.Parameter(torch.ones(64, device=device.torch))
    for factor, overflows in ((0.5, False), (4.0, True), (0.5, False)):
        weight.grad = None
        scaler.scale((weight.half().float() * factor).sum()).backward()
        seen = scaler.unscale_and_check([weight])
        assert seen == overflows, f"a gradient of {factor * scaler.value:.0f}: overflow seen: {seen}"
    return {"saturates": not device.traits.inf_nan}


def ceiling(device: Device, folder: Path) -> dict[str, Any]:
    """Measure matrix products in every format that is safe here."""
    speeds = {}
    for dtype in (torch.float32, device.default_dtype()):
        speeds[str(dtype)] = device.matmul_ceiling(dtype)
    return {"flops": speeds, "vendor": device.peak_flops(device.default_dtype())}


def utilisation(device: Device, folder: Path) -> dict[str, Any]:
    """Train each preset for a few seconds, those that fit; on a processor the smallest alone."""
    found: dict[str, Any] = {}
    for preset in ["tiny"] if device.kind == "cpu" else config.presets():
        try:
            found[preset] = _speed(preset, device)
        except (RuntimeError, UserError) as error:
            if not device.is_out_of_memory(error):
                raise
            found[preset] = {"left_out": "memory"}
        device.empty_cache()
    return found


def _speed(
    preset: str, device: Device, shape: tuple[int, int] = (8, 512), seconds: float = 5
) -> dict[str, float]:
    """Return tokens a second and the share of the measured ceiling; each step is waited for."""
    cfg = config.resolve(preset)
    model = build.build(cfg, device.torch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=device.traits.fused_adamw)
    dtype = device.default_dtype()
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while len(taken) < 3 or (time.perf_counter() < until and len(taken) < 50):
        began = time.perf_counter()
        with device.autocast(dtype):
            _step(model, optimizer, len(taken), shape, device.torch)
        device.synchronize()
        taken.append(time.perf_counter() - began)
    speed = shape[0] * shape[1] / sorted(taken)[len(taken) // 2]
    share = speed * flops_per_token(cfg, shape[1] / 2) / device.matmul_ceiling(dtype)
    return {"tokens_per_s": speed, "mfu": share, "peak_memory": device.memory()["peak"]}
