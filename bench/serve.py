"""The built-in server beside vLLM on the processor and `transformers`' batched generate: the same requests.

    python -m bench.serve --json
    python -m bench.serve --model 104m --rounds 5

vLLM's own serving benchmark asks all of them: random prompts of 64 to 192 tokens, answers of 32 to 96,
greedy, no end token heeded. Sides take turns, round by round, each round with prompts of its own. Beside
vLLM, 1 and 16 requests are always under way; beside `transformers`, they arrive over time, at the rate that
the built-in server just holds: the random ones, and then chats of the starter set, whose answers differ in
length as real ones do. All sides compute in the same number format, with all cores.

Where there is no vLLM, `--side transformers` asks with a client of our own, and `--device cuda` on a card.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import serve_requests
from bench.duel import spread

CLONE = Path(__file__).resolve().parents[1]
VLLM = Path(os.environ.get("DANLU_VLLM_PYTHON") or CLONE / ".venv-vllm/bin/python")
INPUT, OUTPUT = 128, 64
AT = {1: 6, 16: 48}
"""Requests of a round, by how many are under way at once."""
ARRIVING = {"random": 192, "chats": 384}
"""Requests of a round in which they arrive over time: so many that its ends weigh little."""
SLOTS = 16
PATIENCE = 900.0
# What each is better at when greater (tokens/s), or when smaller (milliseconds).
MEASURES = {"tokens_per_s": "output_throughput", "ttft_ms": "median_ttft_ms", "tpot_ms": "median_tpot_ms"}


def make(preset: str, place: Path, dtype: str) -> Path:
    """Write an export of a preset with random weights."""
    import torch

    from danlu.model import weights
    from danlu.model.build import build
    from danlu.model.config import resolve
    from danlu.tokenizer.tokenizer import Tokenizer

    raw, out = place / preset, place / f"{preset}-hf"
    raw.mkdir()
    cfg = resolve(preset)
    weights.save(build(cfg, dtype=torch.float32).state_dict(), cfg, raw)
    Tokenizer.load("starter").save(raw)
    words = ["to-hf", str(raw), "--out", str(out), "--dtype", dtype, "--check", "none"]
    subprocess.run([sys.executable, "-m", "convert", *words], check=True, stderr=subprocess.DEVNULL)
    return out


def commands(
    folder: Path, dtype: str, device: str, cores: str
) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return how each side is started, but for its port, and what is added to its environment."""
    ours = [sys.executable, "-m"]
    alike = ["--dtype", dtype, "--port"]
    vllm = ["vllm.entrypoints.openai.api_server", "--model", str(folder), "--served-model-name", folder.name]
    vllm += ["--max-model-len", "2048", "--max-num-seqs", str(SLOTS)]
    slots = ["--slots", str(SLOTS), "--device", device]
    return {
        "danlu": ([*ours, "danlu", "serve", str(folder), "--quiet", *slots, *alike], {}),
        "vllm": (
            [str(VLLM), "-m", *vllm, *alike],
            {
                "VLLM_CPU_KVCACHE_SPACE": "2",
                "VLLM_NO_USAGE_STATS": "1",
                "VLLM_CPU_OMP_THREADS_BIND": cores,
            },
        ),
        "transformers": ([*ours, "bench.serve_transformers", str(folder), *slots, *alike], {}),
    }


@contextlib.contextmanager
def servers(wanted: dict[str, tuple[list[str], dict[str, str]]], logs: Path) -> Iterator[dict[str, str]]:
    """Start all sides, and yield where each answers."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    urls = {}
    try:
        for name, (command, more) in wanted.items():
            port = free_port()
            urls[name] = f"http://127.0.0.1:{port}"
            env = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
            with (logs / f"{name}.log").open("wb") as log:
                running[name] = subprocess.Popen(
                    [*command, str(port)], stdout=log, stderr=log, env=env | more, cwd=CLONE
                )
            wait(name, port, running[name], logs)
        yield urls
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


def free_port() -> int:
    """Return a port that is free."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait(name: str, port: int, process: subprocess.Popen[bytes], logs: Path) -> None:
    """Wait until a side is well."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status < 400:
                print(f"  {name} is ready", file=sys.stderr)
                return
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
    raise SystemExit(f"{name} did not come up:\n" + (logs / f"{name}.log").read_text()[-2000:])


class Client:
    """vLLM's benchmark in a process of its own, or what asks alike where there is none."""

    def __init__(self, folder: Path) -> None:
        env, command = dict(os.environ), [sys.executable, "-m", "bench.serve_plain"]
        if VLLM.exists():
            command = [str(VLLM), str(Path(__file__).with_name("serve_client.py"))]
            env.pop("PYTHONPATH", None)
        self.model = folder.name
        self.process = subprocess.Popen(
            [*command, str(folder)], cwd=CLONE, env=env,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._answer()

    def ask(
        self,
        url: str,
        concurrency: int,
        prompts: int,
        seed: int,
        rate: float | None = None,
        file: Path | None = None,
    ) -> dict[str, float]:
        """Return what was measured of one round: of requests in a file, or of random ones."""
        asked = {
            "url": url,
            "model": self.model,
            "concurrency": concurrency,
            "rate": rate,
            "prompts": prompts,
            "file": file and str(file),
            "input": INPUT,
            "output": OUTPUT,
            "seed": seed,
        }
        assert self.process.stdin
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        told = self._answer()
        assert told["completed"] == prompts, told
        return told

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("vLLM's benchmark ended early")
        return dict(json.loads(line))

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def rounds_of(
    client: Client, urls: dict[str, str], names: list[str], count: int, at: int, **more: Any
) -> dict[str, list[dict[str, float]]]:
    """Return each side's rounds, taken in turns after one that does not count."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    asked = {"concurrency": at, "prompts": AT[at]} | more
    for number in range(count + 1):
        for name in names:
            told = client.ask(urls[name], seed=1000 * at + number, **asked)
            print(f"  {name} at {at}: {told['output_throughput']:,.0f} tokens/s", file=sys.stderr, flush=True)
            if number:
                found[name].append(told)
    return found


def arriving(
    client: Client, urls: dict[str, str], count: int, place: Path
) -> Iterator[tuple[str, dict[str, list[dict[str, float]]]]]:
    """Yield the rounds beside `transformers`, told by what arrives how fast."""
    for kind, prompts in ARRIVING.items():
        file = serve_requests.write(place) if kind == "chats" else None
        most = client.ask(urls["danlu"], SLOTS, prompts, seed=1, file=file)
        rate = most["completed"] / most["duration"]
        asked = {"concurrency": 1000, "prompts": prompts, "rate": rate, "file": file}
        found = rounds_of(client, urls, ["danlu", "transformers"], count, SLOTS, **asked)
        yield f"transformers, {kind}, {rate:.1f} requests/s", found


def compared(found: dict[str, list[dict[str, float]]], first: str, other: str) -> dict[str, Any]:
    """Return medians, and the ratios of neighbouring rounds; none where a side has no such time."""
    result: dict[str, Any] = {name: {} for name in (first, other, "ratio")}
    for measure, key in MEASURES.items():
        for name in (first, other):
            result[name][measure] = round(statistics.median(each[key] for each in found[name]), 2)
        pairs = [(a[key], b[key]) for a, b in zip(found[first], found[other])]
        if all(b for _, b in pairs):  # an answer that comes whole has no time between tokens
            result["ratio"][measure] = spread([a / b for a, b in pairs])
    return result


def measured(args: argparse.Namespace, preset: str, sides: list[str], place: Path) -> dict[str, Any]:
    """Return all comparisons for one model."""
    folder, rounds = make(preset, place, args.dtype), args.rounds
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    known = commands(folder, args.dtype, args.device, cores)
    wanted = {name: how for name, how in known.items() if name in ("danlu", *sides)}
    result: dict[str, Any] = {}
    with servers(wanted, place) as urls:
        client = Client(folder)
        if "vllm" in sides:
            for at in AT:
                found = rounds_of(client, urls, ["danlu", "vllm"], rounds, at)
                result[f"vllm at {at}"] = compared(found, "danlu", "vllm")
        if "transformers" in sides:
            for what, found in arriving(client, urls, rounds, place):
                result[what] = compared(found, "danlu", "transformers")
        client.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", help="a preset; repeatable [26m, 104m]")
    parser.add_argument("--side", action="append", choices=["vllm", "transformers"], help="repeatable [both]")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of all but vLLM [cpu]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server is left behind
    result = {}
    for preset in args.model or ["26m", "104m"]:
        with tempfile.TemporaryDirectory() as name:
            sides = args.side or ["vllm", "transformers"]
            result[preset] = measured(args, preset, sides, Path(name))
    if args.json:
        print(json.dumps(result))
        return
    for preset, found in result.items():
        for what, told in found.items():
            ratio = {measure: each["median"] for measure, each in told.pop("ratio").items()}
            print(f"{preset}, beside {what}: {told}; ours / theirs {ratio}")


if __name__ == "__main__":
    main()
