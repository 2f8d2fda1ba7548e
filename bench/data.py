"""From rows of text to token ids on disk: our encoding beside `datasets` with the same tokenizer.

python -m bench.data --peer PEER_PYTHON --rounds 3 --json

The peer is an environment with datasets and transformers; it runs load_dataset("json") and map(batched=True)
with our starter tokenizer as PreTrainedTokenizerFast, at its default (num_proc=None) and at several numbers
of processes. Every round begins with an empty cache, sides in turn; both are loaded before the clock starts.

The text is made here: two languages, words of our grammars as often as Zipf's law has them, in clauses that
do not come again, and some words nobody saw before. So what helps with repeated sentences cannot help here.
Chats are measured by themselves.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.duel import Side, compare, duel, serve_rounds, summary

SIGNS = {"chinese": ("，、：", "。！？", ""), "english": (",;:", ".!?", " ")}
NEW = 0.03  # words that are not of the grammar: names, compounds, slips of the pen


def words(language: str) -> list[str]:
    """Return a language's words, those with the most uses first."""
    from danlu.starter.grammar import Grammar

    lists = Grammar(language, 0).words
    letter = re.compile("[\u4e00-\u9fff]" if language == "chinese" else "[A-Za-z]{2}|[aI]$")
    found = {word for kind in lists.values() for word in kind if letter.match(word)}
    return sorted(found, key=lambda word: (len(word), word))


class Writer:
    """Writes texts of one language."""

    def __init__(self, language: str, seed: int) -> None:
        self.words = words(language)
        self.uses = list(itertools.accumulate(1 / rank for rank in range(3, len(self.words) + 3)))
        self.inner, self.final, self.space = SIGNS[language]
        self.dice = random.Random(seed)

    def clause(self) -> str:
        chosen = self.dice.choices(self.words, cum_weights=self.uses, k=self.dice.randint(3, 12))
        for place in range(len(chosen)):
            if self.dice.random() < NEW:
                chosen[place] = "".join(self.dice.choices(self.words, k=2))
            elif self.dice.random() < NEW:
                chosen[place] = str(self.dice.randrange(3000))
        return self.space.join(chosen)

    def sentence(self) -> str:
        clauses = [self.clause() for _ in range(self.dice.randint(1, 4))]
        inner = self.dice.choice(self.inner) + self.space
        return inner.join(clauses) + self.dice.choice(self.final)

    def text(self) -> str:
        ends = [self.space, self.space, self.space, "\n"]
        return "".join(self.sentence() + self.dice.choice(ends) for _ in range(self.dice.randint(1, 40)))


def rows(kind: str) -> Iterator[dict[str, Any]]:
    """Yield rows without end, the same each time."""
    writers = [Writer(language, seed) for seed, language in enumerate(SIGNS)]
    for number in itertools.count():
        writer = writers[number % 2]
        if kind == "pretrain":
            yield {"text": writer.text()}
        else:
            says = itertools.cycle(["user", "assistant"])
            turns = 2 * writer.dice.randint(1, 3)
            yield {"messages": [{"role": next(says), "content": writer.sentence()} for _ in range(turns)]}


def made(path: Path, kind: str, size: float) -> Path:
    """Write rows of so many megabytes."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows(kind):
            if file.tell() >= size * 1e6:
                return path
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    raise AssertionError("rows have no end")


def ours(path: Path, kind: str, workers: int) -> dict[str, float]:
    """Encode a file as training does, in an empty cache."""
    from danlu.data.encode import Options
    from danlu.data.encoded import encoded
    from danlu.tokenizer.tokenizer import Tokenizer

    with tempfile.TemporaryDirectory() as cache:
        os.environ["DANLU_CACHE"] = cache
        found = encoded([path], kind, Tokenizer.load(), Options(512), workers=workers)
        ids = sum(len(shard.tokens) for shard in found.shards)
        added = 2 * found.tally.rows if kind == "pretrain" else 0  # begin and end, which the peer leaves out
        return {"tokens": ids - added, "rows": found.tally.rows}


def peers(path: Path, tokenizer: Any, processes: int) -> dict[str, float]:
    """Encode a file as `datasets` does, in an empty cache."""
    import datasets

    with tempfile.TemporaryDirectory() as cache:
        rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=cache)
        done = rows.map(
            lambda some: tokenizer(some["text"]),
            batched=True,
            remove_columns=rows.column_names,
            num_proc=processes or None,
        )
        ids = sum(len(chunk.flatten()) for chunk in done.data.column("input_ids").chunks)
        return {"tokens": ids, "rows": len(done)}


def be_side(args: argparse.Namespace) -> None:
    """Answer rounds on standard input."""
    if args.side == "ours":
        import danlu.data.encoded  # noqa: F401, loaded before the clock starts

        serve_rounds(lambda: ours(args.file, args.kind, args.processes))
        return
    import datasets
    import transformers

    datasets.disable_progress_bars()
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(args.tokenizer)
    serve_rounds(
        lambda: peers(args.file, tokenizer, args.processes),
        datasets=datasets.__version__,
        transformers=transformers.__version__,
    )


def side(name: str, python: str, **options: Any) -> Side:
    words = [f"--{key}={value}" for key, value in options.items()]
    return Side(name, [python, "-m", "bench.data", *words])


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the figures of all sides."""
    from danlu.data.workers import cores
    from danlu.tokenizer.tokenizer import Tokenizer

    texts = made(folder / "texts.jsonl", "pretrain", args.mb)
    chats = made(folder / "chats.jsonl", "chat", args.mb / 4)
    Tokenizer.load().save(folder / "tokenizer")
    counts = sorted({1, 2, cores() // 2, cores()} & set(range(1, cores() + 1)))
    us = side("ours", sys.executable, side="ours", file=texts)
    talks = side("ours, chats", sys.executable, side="ours", file=chats, kind="chat")
    keys = {"side": "peer", "file": texts, "tokenizer": folder / "tokenizer"}
    them = [side("datasets, default", args.peer, **keys)] if args.peer else []
    them += [side(f"datasets, num_proc={n}", args.peer, **keys, processes=n) for n in counts if args.peer]
    load = os.getloadavg()[0]
    duel([us, talks, *them], args.rounds)
    counted = {each["tokens"] for one in [us, *them] for each in one.rounds}
    assert len(counted) == 1, f"not the same ids: {counted}"
    result = {"cores": cores(), "load_before": load, **{s.name: summary(s) for s in [us, talks, *them]}}
    result["chats_per_s"] = round(max(each["rows"] / each["seconds"] for each in talks.rounds))
    if them:
        result["times_default"] = compare(us, them[0])
        better = max(them[1:], key=lambda s: summary(s)["tokens_per_s"])
        result["times_better"] = {"of": better.name, **compare(us, better)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", help="a Python with datasets and transformers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mb", type=float, default=60, help="size of the text")
    parser.add_argument("--json", action="store_true")
    for name, kind in (("--file", Path), ("--tokenizer", Path), ("--side", str)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--kind", default="pretrain", help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        be_side(args)
        return
    with tempfile.TemporaryDirectory() as name:
        result = measure(args, Path(name))
    if args.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
