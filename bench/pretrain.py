"""Pretraining speed: our step beside MiniMind's on the same shape and the same lengths.

    python -m bench.pretrain --peer minimind=PATH --json

Three sides take turns: ours, MiniMind as its trainer runs on a CPU (float32), and MiniMind under
bfloat16 autocast. Only real tokens are counted. Our speed is also held against what this machine's
bf16 matrix product reaches, measured in the same minute (FLOPs: 6 per active weight, plus attention).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from bench.duel import Side, compare, duel, summary

CEILING = "from danlu.device import api; d = api.current(); print(d.matmul_ceiling(d.default_dtype()))"


def ceiling() -> float:
    """Return the measured FLOP/s of a matrix product in the device's default format."""
    done = subprocess.run([sys.executable, "-c", CEILING], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", help="minimind=PATH of a checkout")
    parser.add_argument("--model", default="26m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--row", type=int, default=512)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    python = [sys.executable, "-m"]
    shape = ["--row", str(args.row), "--micro-batch", str(args.micro_batch)]
    sides = [Side("danlu", [*python, "bench.ours", args.model, *shape])]
    if args.peer:
        name, _, path = args.peer.partition("=")
        if name != "minimind" or not path:
            parser.error("--peer minimind=PATH")
        sides += [
            Side("minimind (its CPU default)", [*python, "bench.minimind", path]),
            Side("minimind (bf16 autocast)", [*python, "bench.minimind", path, "--autocast"]),
        ]
    before = ceiling()
    duel(sides, args.rounds)
    top = max(before, ceiling())
    ours = sides[0]
    result = {side.name: summary(side) for side in sides}
    result["danlu"]["fill"] = round(ours.rounds[-1]["fill"], 3)
    result["ceiling_gflops"] = round(top / 1e9)
    result["share_of_ceiling"] = round(
        result["danlu"]["tokens_per_s"] * ours.about["flops_per_token"] / top, 3
    )
    result["faster_than"] = {side.name: compare(ours, side) for side in sides[1:]}
    print(json.dumps(result, indent=None if args.json else 2))


if __name__ == "__main__":
    main()
