"""`danlu eval`: measure a model. One sub-command a task."""

from __future__ import annotations

import json

import click

from danlu.eval_tools import command as tools


@click.group(name="eval")
def command() -> None:
    """Measure a model.

    \b
    danlu eval perplexity out/pretrain_512 --data held_out.jsonl
    danlu eval tools out/tool_sft_512
    """


command.add_command(tools)


@command.command()
@click.argument("folder", metavar="DIR")
@click.option(
    "--data",
    required=True,
    multiple=True,
    metavar="FILE",
    help="Rows of text or of chats (jsonl) the model has not learned from. Repeatable.",
)
@click.option(
    "--context",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Most tokens a prediction may look back on. [what the model reads at most]",
)
@click.option(
    "--stride",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="How far the window moves over a longer row; smaller gives each token more to look back on "
    "and takes longer. [half of --context]",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Measure the first N rows only. [all]",
)
@click.option(
    "--together",
    type=click.IntRange(min=1),
    default=8192,
    metavar="N",
    help="Tokens read at once; fewer need less memory. [8192]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--device",
    default="auto",
    metavar="NAME",
    help="Where to compute; auto: the accelerator if there is a usable one. [auto]",
)
@click.option(
    "--dtype",
    default="float32",
    metavar="NAME",
    help="float32 is exact; auto, bfloat16 or float16 are faster. [float32]",
)
def perplexity(
    folder: str, data: tuple[str, ...], context: int | None, stride: int | None, limit: int | None,
    together: int, as_json: bool, device: str, dtype: str,
) -> None:  # fmt: skip
    """Print how well the model in DIR predicts text: loss, perplexity and bits per byte.

    DIR is finished weights (out/NAME), a run, or one checkpoint of a run. Of a text every token is
    scored; of a chat what the assistant says, with the end of its turn. Loss is in nats a token; bits
    per byte do not depend on the tokenizer, so they compare models that have different ones. Rows
    longer than --context are read in overlapping windows, every token being scored once.

    \b
    danlu eval perplexity out/pretrain_512 --data held_out.jsonl
    danlu eval perplexity out/full_sft_512 --data chats.jsonl --json
    """
    from danlu.evaluate import load
    from danlu.evaluate import perplexity as task

    model, tokenizer = load.load_model(folder, device, dtype)
    context, stride = task.span(model, context, stride)
    score = task.measure(model, task.read(tokenizer, data, limit), context, stride, together)
    if as_json:
        click.echo(json.dumps(score.as_dict()))
        return
    click.echo(f"loss           {score.loss:.4f} nats a token")
    click.echo(f"perplexity     {score.perplexity:.3f}")
    click.echo(f"bits per byte  {score.bits_per_byte:.4f}")
    click.echo(f"scored         {score.tokens:,} tokens, {score.bytes:,} bytes, {score.rows:,} rows")
