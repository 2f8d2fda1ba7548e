"""What a server's last words mean when it dies, and what to do about it.

error: vLLM ended with exit code 1: its port was taken meanwhile
  | ... the last lines of its log
  try: --port ANOTHER; all it said: .../log.txt
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

from danlu.base.errors import UserError
from danlu.device import hosting

LAST = 12
"""Lines of a dead server's log that are shown."""
WIDEST = 200
READ = 1 << 18
"""Bytes at a log's end that are looked at."""
NOISE = r"nanobind|leaked|resource_tracker|warnings\.warn|^\s*$|refleaks"
"""What libraries say of themselves on their way out."""

BUILT_IN = "the built-in server: danlu serve DIR"
# What a log says: pattern, meaning, remedy.
KNOWN = (
    *hosting.FAILURES,
    (r"[Aa]ddress already in use", "its port was taken meanwhile", "--port ANOTHER"),
    (
        r"larger than the available KV cache memory|No available memory for the cache blocks",
        "memory does not hold a single text of full length",
        "--max-model-len LESS; on a processor also VLLM_CPU_KVCACHE_SPACE=GiB in the environment",
    ),
    (
        r"not enough memory|[Cc]annot allocate memory|MemoryError|exceeds available memory",
        "memory is too small, or in use",
        "--max-model-len LESS, or end what uses it",
    ),
    (
        r"architectures? .* (is|are) not supported|no vLLM implementation",
        "vLLM does not know this architecture",
        BUILT_IN,
    ),
    (r"[Hh]ead.?size.*not supported", "its attention does not know heads of this width", BUILT_IN),
    (
        r"unrecognized arguments: (.*)",
        "it does not know",
        "'danlu vllm DIR -- WORDS' hands words to vLLM as they are",
    ),
    (r"No module named '?vllm", "that environment has no vLLM", "bash run_all.sh setup --with vllm"),
    (
        r"Unable to find image|pull access denied|manifest unknown|TLS handshake",
        "its image cannot be pulled",
        "--image NAME, or bring one: docker load",
    ),
    (
        r"Cannot connect to the Docker daemon|permission denied.*docker",
        "no container engine answers to you",
        "start it, or --runtime host",
    ),
)
# How it died, by the signal that ended it.
SIGNALS: dict[int, tuple[str, str]] = {
    signal.SIGKILL: (
        "it was killed; most often memory had run out",
        "--max-model-len LESS, or end what uses memory",
    ),
    signal.SIGILL: ("it uses instructions that this processor lacks", BUILT_IN),
    signal.SIGBUS: ("shared memory is too small", "a larger /dev/shm; in a container --shm-size 8g"),
}


def death(what: str, code: int, log: Path) -> UserError:
    """Return why a server died, as its log and its exit code tell, with the last lines of the log."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - READ))
        text = file.read().decode(errors="replace")
    meaning, remedy = explain(text, code)
    ended = f"signal {-code}" if code < 0 else f"exit code {code}"
    last = "".join(f"\n  | {line[:WIDEST]}" for line in telling(text))
    return UserError(f"{what} ended with {ended}: {meaning}{last}", f"{remedy}; all it said: {log}")


def explain(text: str, code: int) -> tuple[str, str]:
    """Return what a log that ended like this means, and what to do.

    >>> explain("OSError: [Errno 98] Address already in use", 1)
    ('its port was taken meanwhile', '--port ANOTHER')
    """
    for pattern, meaning, remedy in KNOWN:
        if found := re.search(pattern, text):
            return f"{meaning} {found[1].strip()}" if found.re.groups == 1 and found[1] else meaning, remedy
    if -code in SIGNALS:
        return SIGNALS[-code]
    errors = re.findall(r"(?:^|[ \]])((?:\w+\.)*\w*(?:Error|Exception): .+)$", text, re.MULTILINE)
    return (errors[-1].strip() if errors else "it does not say why"), "mend what it says"


def telling(text: str) -> list[str]:
    """Return the last lines of a log that say something."""
    return [line for line in text.splitlines() if not re.search(NOISE, line)][-LAST:]
