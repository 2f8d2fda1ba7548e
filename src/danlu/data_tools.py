"""`danlu data tools`: dialogues with tools out of the data sets that have them, checked call by call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from danlu.base.errors import UserError
from danlu.reading_options import reading_of, reading_options

if TYPE_CHECKING:
    from danlu.data.calls import Fault
    from danlu.data.convert import Sieve
    from danlu.data.sources import Found, Source

SHAPES = {
    "hermes": ("sharegpt", "glaive raw"),
    "glaive": ("glaive raw", "sharegpt"),
    "xlam": ("xlam raw",),
    "starter": ("sft messages", "sft chat"),
}
"""The shapes that rows of a source have: hermes and glaive are told apart by what their turns say."""
HUB = {
    "hermes": [
        f"hf://NousResearch/hermes-function-calling-v1:{name}.json"
        for name in ("func-calling", "func-calling-singleturn", "glaive-function-calling-5k")
    ],
    "glaive": ["hf://hiyouga/glaive-function-calling-v2-sharegpt"],
    "xlam": ["hf://Salesforce/xlam-function-calling-60k"],
}
NAMED = 20  # rows left out that are named


@click.command(name="tools")
@click.option("--source", type=click.Choice([*SHAPES]), required=True, help="Whose rows they are.")
@click.option("--input", "paths", multiple=True, metavar="PATH", help="A file or folder; may be given again.")
@click.option("--hub", metavar="NAME", help="Fetch them: 'default', or another copy: hf://..., ms://...")
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, metavar="FILE.jsonl", help="To write."
)
@click.option("--flat", is_flag=True, help="Write tools and calls out as text of the chat.")
@click.option("--max-length", type=click.IntRange(min=1), metavar="N", help="Leave out rows of more tokens.")
@click.option(
    "--tokenizer", default="starter", show_default=True, metavar="DIR", help="Whose tokens, whose template."
)
@click.option("--max-samples", type=click.IntRange(min=1), metavar="N", help="Stop after as many rows.")
@click.option("--lang", type=click.Choice(["zh", "en"]), help="Only rows whose questions are in it.")
@click.option("--mix", multiple=True, metavar="PATH", help="Ordinary chats to mix in; may be given again.")
@click.option("--mix-ratio", type=click.FloatRange(min=0), metavar="R", help="How many for each row.")
@click.option("--seed", default=42, show_default=True, help="Which ordinary chats come when.")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@reading_options
def command(
    source: str,
    paths: tuple[str, ...],
    hub: str | None,
    output: Path,
    flat: bool,
    max_length: int | None,
    tokenizer: str,
    max_samples: int | None,
    lang: str | None,
    mix: tuple[str, ...],
    mix_ratio: float | None,
    seed: int,
    force: bool,
    fields: tuple[str, ...],
    encoding: str,
    text_by: str,
) -> None:
    """Write dialogues with tools for supervised training: {"messages": [...], "tools": [...]}, one a line.

    \b
      hermes   from/value turns, <tools> in the system text, <tool_call> in the answers
      glaive   from/value turns, function_call and observation among them
      xlam     query, tools, answers
      starter  what 'danlu data starter' writes: tools.jsonl

    Calls become structured ones, whether they were written as JSON or as Python prints it. Tools are those
    that a row names; where it names none, they are told from its calls, and that is counted. Left out,
    counted and named by file and line are rows that cannot be read, call a tool that is not offered, have
    arguments that do not fit its schema, or are longer than --max-length tokens as training reads them.

    With --flat tools and calls are text, written as the tokenizer's template writes them, token by token.
    FILE appears when all is written, or not at all.

    \b
    danlu data tools --source hermes --input func-calling.json --max-length 2048 --output data/tools.jsonl
    danlu data tools --source xlam --hub default --max-samples 10000 --output data/xlam.jsonl
    danlu data tools --source starter --input data/tools.jsonl --flat --output data/flat.jsonl \\
        --mix data/sft.jsonl --mix-ratio 0.2
    """
    from danlu.base.log import say
    from danlu.data.convert import Wish, convert
    from danlu.data.outputs import need_free
    from danlu.data.sources import Source
    from danlu.tokenizer.tokenizer import Tokenizer

    _check(output, mix, mix_ratio)
    reading = reading_of(fields, encoding, text_by)
    rows = Source(_wanted(source, paths, hub), "chat", reading)
    ordinary = Source(mix, "chat", reading) if mix else None
    need_free("--output", output, _files(rows, ordinary), force)
    wish = Wish(
        tokenizer=Tokenizer.load(tokenizer) if flat or max_length else None,
        max_tokens=max_length,
        flat=flat,
        max_rows=max_samples,
        skip_bad=True,
        mix_ratio=mix_ratio or 0.0,
        seed=seed,
        sieve=sieve(source, lang),
        named=NAMED,
    )
    counts = convert(rows, output, wish, ordinary)
    for line in counts.lines(wish):
        say(line)
    say(f"{output}: {counts.written + counts.mixed:,} rows")


def sieve(source: str, language: str | None) -> Sieve:
    """Return what tells why a row is left out."""
    from danlu.data.calls import fault
    from danlu.data.records import Dialogue
    from danlu.tools.classic import language_of

    def left_out(found: Found) -> Fault | None:
        chat = found.record
        if found.shape not in SHAPES[source] or not isinstance(chat, Dialogue):
            return (
                f"are not of {source}",
                f"the row has the shape '{found.shape}'; wanted: {' or '.join(SHAPES[source])}",
            )
        if language and language_of(" ".join(_asked(chat))) != language:
            return "are in another language", "left out by --lang"
        return fault(chat)

    return left_out


def _asked(chat: object) -> list[str]:
    from danlu.data.records import Dialogue

    assert isinstance(chat, Dialogue)
    return [str(message["content"]) for message in chat.messages if message["role"] == "user"]


def _wanted(source: str, paths: tuple[str, ...], hub: str | None) -> tuple[str, ...]:
    """Return files or names on a hub, one of them being given."""
    if bool(paths) == (hub is not None):
        given = "both --input and --hub are given" if paths else "neither --input nor --hub says what to read"
        raise UserError(f"--source {source}: {given}", "--input FILE, or --hub default")
    if hub is None:
        return paths
    if hub != "default":
        return (hub,)
    if source not in HUB:
        raise UserError(f"--hub default: {source} is on no hub", "danlu data starter --out data writes it")
    return tuple(HUB[source])


def _check(output: Path, mix: tuple[str, ...], mix_ratio: float | None) -> None:
    if output.suffix != ".jsonl":
        raise UserError(
            f"--output {output}: rows are written as JSON lines", f"--output {output.with_suffix('.jsonl')}"
        )
    if output.is_dir():
        raise UserError(f"--output {output}: is a folder", "name a file in it")
    if bool(mix) != (mix_ratio is not None):
        given, lacking = ("--mix", "--mix-ratio") if mix else ("--mix-ratio", "--mix")
        raise UserError(f"{given} is given without {lacking}", "give both: --mix FILE --mix-ratio 0.2")


def _files(*sources: Source | None) -> list[Path]:
    """Return the files of all sources."""
    return [file.path for source in sources if source is not None for file in source.files]
