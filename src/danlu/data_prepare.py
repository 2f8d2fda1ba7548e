"""`danlu data prepare`: any amount of data encoded once, into shards that training maps into memory."""

from __future__ import annotations

from pathlib import Path

import click

from danlu.reading_options import reading_of, reading_options


@click.command(name="prepare")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option(
    "--for",
    "kind",
    default="pretrain",
    show_default=True,
    type=click.Choice(["pretrain", "chat"]),
    help="What it is for.",
)
@click.option("--seq-len", default=512, show_default=True, type=click.IntRange(min=2), help="Longest sample.")
@click.option(
    "--tag-weight", default=1.0, show_default=True, help="Weight of think and answer tags in chats."
)
@click.option(
    "--tokenizer", default="starter", show_default=True, metavar="DIR", help="The model's tokenizer."
)
@click.option(
    "--workers",
    default=0,
    type=click.IntRange(min=0),
    metavar="N",
    help="Processes; 0: one for small files, else one for each core.",
)
@click.option(
    "--shard-tokens",
    default=1 << 27,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="N",
    help="Tokens after which the next shard begins.",
)
@click.option(
    "--on-bad-row",
    default="refuse",
    show_default=True,
    type=click.Choice(["refuse", "skip"]),
    help="Stop at the first, or leave them out and list them in DIR/bad.txt.",
)
@reading_options
def command(
    paths: tuple[str, ...],
    out: Path,
    kind: str,
    seq_len: int,
    tag_weight: float,
    tokenizer: str,
    workers: int,
    shard_tokens: int,
    on_bad_row: str,
    fields: tuple[str, ...],
    encoding: str,
    text_by: str,
) -> None:
    """Encode any amount of data into shards, once, with all cores and little memory.

    The folder then stands where the files would: data.train=DIR. Training encodes small files by itself;
    this is for data so large that it is made once, perhaps on another machine, for many runs.

    Stopped in whatever way, the same command again goes on after the last whole shard, and the result is
    the same, byte for byte. On a folder that is whole it reads every byte, and makes anew what is damaged.

    \b
    danlu data prepare corpus/*.jsonl.gz --out prepared --seq-len 1024
    danlu data prepare chats.jsonl --for chat --out chats --on-bad-row skip
    danlu train pretrain model=26m data.train=prepared
    """
    from danlu.base.log import say
    from danlu.data.encode import Options
    from danlu.data.parts import BlockEncoder
    from danlu.data.prepared import prepare
    from danlu.data.sources import Source
    from danlu.data.store import Task
    from danlu.tokenizer.tokenizer import Tokenizer

    reading = reading_of(fields, encoding, text_by)
    encoder = BlockEncoder(kind, Tokenizer.load(tokenizer), Options(seq_len, tag_weight), reading)
    store = prepare(out, Task(Source(paths, kind, reading), encoder, on_bad_row, shard_tokens, workers))
    for shape, count in store.total.shapes.items():
        say(f"found: {shape}, {count:,} rows")
    for line in store.total.tally.lines(seq_len):
        say(line)
    if store.total.bad:
        say(f"skipped {store.total.bad:,} bad rows, listed in {out / 'bad.txt'}")
    seconds = max(store.manifest["seconds"], 0.1)
    size = sum(shard.meta.bytes for shard in store.shards)
    say(f"{out}: {len(store.shards)} shards, {size / 1e6:,.1f} MB, made in {seconds:,.1f} s")
    say(f"use it as: data.train={out}")
