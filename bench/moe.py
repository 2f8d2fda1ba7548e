"""What a mixture of experts costs: its step beside the dense step of equal active size.

python -m bench.moe --json            with 4 and with 16 experts
"""

from __future__ import annotations

import argparse
import json
import sys

from bench.duel import Side, compare, duel, summary


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="26m", help="a dense preset with a -moe twin")
    parser.add_argument("--experts", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    from danlu.model.config import preset

    python = [sys.executable, "-m", "bench.ours"]
    dense = Side("dense", [*python, args.model])
    twins = []
    for experts in args.experts:
        moe = preset(f"{args.model}-moe")["moe"] | {"num_experts": experts}
        twins.append(
            Side(f"{experts} experts", [*python, f"{args.model}-moe", "--set", json.dumps({"moe": moe})])
        )
    duel([dense, *twins], args.rounds)
    result = {side.name: summary(side) for side in (dense, *twins)}
    result["slower_than_dense"] = {twin.name: compare(dense, twin) for twin in twins}
    print(json.dumps(result, indent=None if args.json else 2))


if __name__ == "__main__":
    main()
