"""Pretraining speed: our step beside MiniMind's on the same shape and the same lengths.

    python -m bench.pretrain --peer minimind=PATH --json

Four sides take turns: ours, this machine's best matrix product, MiniMind as its trainer runs on a CPU
(float32), and MiniMind under bfloat16 autocast. Only real tokens are counted. Our share of the ceiling
counts 6 FLOPs for each active weight, plus attention, and is taken round by round.
"""

from __future__ import annotations

import argparse
import json
import sys

from bench.duel import Side, compare, duel, spread, summary


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
    ours = Side("danlu", [*python, "bench.ours", args.model, *shape])
    top = Side("matrix product", [*python, "bench.ceiling"])
    sides = [ours, top]
    if args.peer:
        name, _, path = args.peer.partition("=")
        if name != "minimind" or not path:
            parser.error("--peer minimind=PATH")
        sides += [
            Side("minimind (its CPU default)", [*python, "bench.minimind", path]),
            Side("minimind (bf16 autocast)", [*python, "bench.minimind", path, "--autocast"]),
        ]
    duel(sides, args.rounds)
    peers = sides[2:]
    cost = ours.about["flops_per_token"]
    shares = [speed * cost / each["flops"] for speed, each in zip(ours.speeds(), top.rounds)]
    result = {side.name: summary(side) for side in (ours, *peers)}
    result["danlu"]["fill"] = round(ours.rounds[-1]["fill"], 3)
    result["ceiling_gflops"] = spread([each["flops"] / 1e9 for each in top.rounds])
    result["share_of_ceiling"] = spread(shares)
    result["faster_than"] = {side.name: compare(ours, side) for side in peers}
    print(json.dumps(result, indent=None if args.json else 2))


if __name__ == "__main__":
    main()
