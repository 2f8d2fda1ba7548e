"""What loading costs: its speed beside the smallest model's, the wait after a resume, and its memory.

python -m bench.loader --json

speed    tokens/s of the loader alone, in one thread, on samples of log-normal length, and of training
         `tiny` on the same stream
resume   seconds to the first step from a state at row 100,000,000 of samples on disk, and at row 1; the
         arrays are sparse files, so they take no room
memory   what the process holds for itself (anonymous memory, without pages of mapped files), at regular
         moments while 10,000,000 mapped rows and then 1,000,000 streamed ones go through
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from danlu.data.encode import Options
from danlu.data.formats import Reading
from danlu.data.parts import BlockEncoder
from danlu.data.samples import Samples, Shard
from danlu.data.stream import Stream
from danlu.data.streamed import Encoding, Streamed
from danlu.data.supply import Mapped

LENGTH = 12  # places of a sample of a sparse data set


def sparse(folder: Path, size: int, length: int = LENGTH) -> Samples:
    """Return samples of equal length whose other arrays lie in files without blocks."""
    folder.mkdir(parents=True, exist_ok=True)

    def array(name: str, kind: type, count: int) -> np.ndarray:
        path = folder / name
        with path.open("wb") as file:
            file.truncate(count * np.dtype(kind).itemsize)
        return np.memmap(path, kind, "r", shape=(count,))

    shard = Shard(
        tokens=array("tokens.bin", np.uint16, size * (length + 1)),
        starts=array("starts.bin", np.int64, size),
        lengths=np.broadcast_to(np.int32(length), (size,)),
        rows=array("rows.bin", np.int64, size),
    )
    return Samples([shard], key=f"sparse {size}")


def stream(samples: Samples, row: int = 512, rows: int = 64, prefetch: int = 0) -> Stream:
    """Return packed, shuffled steps of some samples, without end."""
    return Stream(
        Mapped(samples, seed=0), seq_len=row, rows_per_step=rows, micro_batch=rows // 4, prefetch=prefetch
    )


def resume_seconds(samples: Samples, sample: int) -> float:
    """Return the time from a saved state in the window of a sample to the first step."""
    made = stream(samples, rows=4)
    state = json.loads(json.dumps(made.state_dict()))
    window = sample * made.supply.per_epoch // len(samples)  # type: ignore[attr-defined]
    state["cursor"]["position"]["window"] = window
    began = time.perf_counter()
    again = stream(samples, rows=4)
    again.load_state_dict(state)
    next(again)
    return time.perf_counter() - began


def resume(size: int = 110_000_000, far: int = 100_000_000, times: int = 9) -> dict[str, float]:
    """Return the median wait after a resume at the beginning and far in, taken in turns."""
    with tempfile.TemporaryDirectory() as folder:
        samples = sparse(Path(folder), size)
        resume_seconds(samples, 1)
        taken = [(resume_seconds(samples, 1), resume_seconds(samples, far)) for _ in range(times)]
    near, there = (statistics.median(each) for each in zip(*taken))
    return {"near": near, "far": there, "ratio": there / near}


def speed(rounds: int = 5) -> dict[str, float]:
    """Return tokens a second of the loader, and of training on what it gives, taken in turns."""
    from bench import ours

    trainee = ours.Trainee({"preset": "tiny"}, compiled=False)
    loader, batches = (ours.stream(trainee.cfg, 512, 16, 16384) for _ in range(2))
    loader._prefetch = 0

    def load() -> float:
        return sum(batch.num_tokens for _ in range(64) for batch in next(loader))

    def train() -> float:
        return sum(trainee.step(next(batches))["tokens"] for _ in range(4))

    taken = [(_rate(load), _rate(train)) for _ in range(rounds + 1)][1:]
    loaded, trained = (statistics.median(each) for each in zip(*taken))
    return {"loader": loaded, "training": trained, "ratio": loaded / trained}


def _rate(work: Callable[[], float]) -> float:
    began = time.perf_counter()
    return work() / (time.perf_counter() - began)


def own_memory() -> int:
    """Return the bytes this process holds beside mapped files."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def held(steps: Iterator[Any], rows: int, moments: int = 10) -> list[int]:
    """Return the memory held at moments while so many rows go through a stream."""
    found: list[int] = []
    seen = 0
    while len(found) < moments:
        seen += sum(batch.num_samples for batch in next(steps))
        if seen >= rows * (len(found) + 1) / moments:
            found.append(own_memory())
    return found


def mapped_memory(rows: int) -> list[int]:
    """Return the memory held at moments while mapped rows go through."""
    with tempfile.TemporaryDirectory() as folder:
        return held(stream(sparse(Path(folder), rows), row=2048, rows=256), rows)


def streamed_memory(rows: int) -> list[int]:
    """Return the memory held at moments while rows of a file are read and encoded."""
    from danlu.tokenizer.tokenizer import Tokenizer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        line = '{"text": "丹炉 a small model %d"}\n'
        with path.open("w", encoding="utf-8") as file:
            for begin in range(0, rows, 10_000):
                file.writelines(line % (number % 1000) for number in range(begin, min(begin + 10_000, rows)))
        encoder = BlockEncoder("pretrain", Tokenizer.load("starter"), Options(512), Reading())
        steps = Stream(
            Streamed([path], Encoding(encoder), seed=0),
            seq_len=512,
            rows_per_step=64,
            micro_batch=16,
            prefetch=0,
        )
        return held(steps, rows)


def memory(kind: str, rows: int) -> dict[str, float]:
    """Return what a process of its own holds early and at its peak later, in MiB."""
    command = [sys.executable, "-m", "bench.loader", "--hold", kind, "--rows", str(rows)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ})
    found = [each / 2**20 for each in json.loads(done.stdout)]
    return {"rows": rows, "early": found[0], "late": max(found[1:]), "grown": max(found[1:]) - found[0]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--hold", choices=["mapped", "streamed"])
    args = parser.parse_args()
    if args.hold:
        print(json.dumps((mapped_memory if args.hold == "mapped" else streamed_memory)(args.rows)))
        return
    found = {
        "speed": speed(),
        "resume": resume(),
        "mapped": memory("mapped", args.rows),
        "streamed": memory("streamed", args.rows // 10),
    }
    print(json.dumps(found) if args.json else "\n".join(f"{name}: {each}" for name, each in found.items()))


if __name__ == "__main__":
    main()
