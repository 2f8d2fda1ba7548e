"""How long one waits: `danlu --help`, and from the command to the first step of `tiny`.

python -m bench.startup --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def help_seconds(times: int) -> float:
    """Return the median time of `danlu --help`."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "danlu", "--help"], check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def first_step_seconds() -> float:
    """Return the time from the command until the first step of `tiny` stands in metrics.jsonl."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            json.dumps({"text": f"row {i}: the quick brown fox jumps over the lazy dog. " * 8})
            for i in range(500)
        ]
        (folder / "corpus.jsonl").write_text("\n".join(rows))
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "danlu", "train", "pretrain", "model=tiny", "data.train=corpus.jsonl"]
            + ["steps=1000", "run_dir=run"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        metrics = folder / "run" / "metrics.jsonl"
        try:
            while not (metrics.exists() and metrics.stat().st_size):
                if process.poll() is not None:
                    raise SystemExit("the run ended before its first step")
                time.sleep(0.02)
            return time.perf_counter() - began
        finally:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    first = statistics.median(first_step_seconds() for _ in range(args.times))
    result = {"help_s": round(help_seconds(args.times), 3), "first_step_s": round(first, 2)}
    print(
        json.dumps(result)
        if args.json
        else f"--help {result['help_s']} s; first step of tiny {result['first_step_s']} s"
    )


if __name__ == "__main__":
    main()
