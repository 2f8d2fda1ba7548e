"""`danlu eval tools`: how well a model calls tools, behind an endpoint or in this process."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from danlu.base import interrupts
from danlu.base.errors import UserError
from danlu.chat import language
from danlu.serve.address import first_key

if TYPE_CHECKING:
    from danlu.evaluate.tools.cases import Case
    from danlu.evaluate.tools.play import Model, Played
    from danlu.evaluate.tools.settings import Settings
    from danlu.tools.run import Runs

TOGETHER = {"endpoint": 8, "weights": 32}


@click.command(name="tools")
@click.argument("folder", metavar="[DIR]", required=False)
@click.option("--endpoint", metavar="URL", help="Ask an OpenAI endpoint instead of weights in DIR.")
@click.option("--api-key", default=first_key, metavar="KEY", help="Its key. [$DANLU_API_KEY]")
@click.option("--model", default="", metavar="NAME", help="Which of its models. [the first in /v1/models]")
@click.option(
    "--cases",
    "cases_file",
    metavar="FILE",
    help="Cases of your own, JSON lines. [246 that come with us]",
)
@click.option(
    "--mode",
    type=click.Choice(["auto", "interactive"]),
    default="auto",
    help="Play cases and score them, or talk in the terminal and see every call. [auto]",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    metavar="N",
    help="Rounds of calls until an answer must come. [3]",
)
@click.option("--out", metavar="FILE", help="Write every case, its messages and verdicts, as JSON.")
@click.option(
    "--min",
    "least",
    default="",
    metavar="NAME=SHARE,...",
    help="Exit 1 if a metric is below, as in detection=0.95,json=0.98.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Play N cases, evenly from all. [all]")
@click.option(
    "--lang", type=click.Choice(["zh", "en"]), help="Cases of one language alone, and words in it. [both]"
)
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, metavar="NUMBER", help="[0]")
@click.option(
    "--max-tokens", type=click.IntRange(min=1), default=512, metavar="N", help="Of one answer. [512]"
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Cases played at once. [8 at an endpoint, 32 here]",
)
@click.option("--mcp", metavar="URL|COMMAND", help="Take the tools from this MCP server.")
@click.option(
    "--toolbox",
    type=click.Choice(["classic", "starter"]),
    default="classic",
    help="The tools of --mode interactive, and of cases that name none. [classic]",
)
@click.option("--device", default="auto", metavar="NAME", help="Where to compute with weights in DIR. [auto]")
@click.option("--dtype", default="auto", metavar="NAME", help="auto, float32, bfloat16 or float16. [auto]")
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as one JSON object.")
def command(
    folder: str | None, endpoint: str | None, api_key: str, model: str, cases_file: str | None, mode: str,
    rounds: int, out: str | None, least: str, limit: int | None, lang: str | None, temperature: float,
    max_tokens: int, concurrency: int | None, mcp: str | None, toolbox: str, device: str, dtype: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Play cases with tools that really run, and print how well the model called them.

    The model is an OpenAI endpoint, or DIR: finished weights, a run, or one checkpoint. The tools are
    safe ones of ours, or those of an MCP server.

    \b
    danlu eval tools out/tool_sft_512
    danlu eval tools --endpoint http://localhost:8000 --out report.json --min detection=0.95,json=0.98
    danlu eval tools out/tool_sft_512 --mode interactive

    Metrics, each as how many of how many:

    \b
    detection   of questions that need a call: something was called
    selection   of those that called: the wanted tools, and no others
    json        of those that called: all arguments are JSON objects
    arguments   of those that called: nothing is missing that a tool requires
    no_call     of questions that need no call: nothing was called
    multi_call  of questions that need several calls: all right, none too many
    values      of all wanted arguments: their values are exactly right
    recovery    of cases in which a tool failed: calls and answer right in the end
    answer      of answers that must tell something: they do
    whole       of cases: nothing at all is wrong

    A case is a line of JSON; `id` and `questions` are all it needs:

    \b
    {"id": "1", "lang": "en", "kind": "one call", "tools": ["get_weather"],
     "questions": [{"user": "Is it cold in Oslo?",
                    "calls": [[{"name": "get_weather", "arguments": {"city": "Oslo"}}]],
                    "answer": ["Oslo"]}]}

    A second question is what the user replies, whatever was answered. `calls` are rounds of calls; none
    means that none may be made. {"any": [...]} as a value takes each of several, {"has": "..."} every
    text with this one in it; {"optional": [...]} may be left out. `answer` is what the last answer must
    hold; of a list in it one is enough. A tool of your own is its definition, and `returns`, by name,
    what it answers. `failing`: {"get_weather": ["service down"]} lets its first call fail. `toolbox`:
    classic, starter or mcp.
    """
    from danlu.evaluate.tools.metrics import demands
    from danlu.evaluate.tools.settings import Settings

    if bool(folder) == bool(endpoint):
        raise UserError(
            "measure what? " + ("both are named" if folder else "nothing is named"),
            "danlu eval tools DIR, or danlu eval tools --endpoint URL",
        )
    if temperature != temperature:
        raise UserError("--temperature nan: not a number", "--temperature 0")
    demanded = demands(least)
    settings = Settings(temperature, max_tokens)
    where = "endpoint" if endpoint else "weights"
    together = 1 if mode == "interactive" else concurrency or TOGETHER[where]

    def opened() -> Model:
        if endpoint:
            from danlu.evaluate.tools.endpoint import Endpoint

            return Endpoint(endpoint, settings, together, api_key, model)
        from danlu.evaluate.tools.weights import Weights

        return Weights(folder or "", settings, together, device, dtype)

    with server(mcp) as tools:
        if mode == "interactive":
            from danlu.eval_tools_session import talk_with

            talk_with(opened(), tools, toolbox, rounds, language(lang or "auto"))
            return
        cases = chosen(cases_file, tools, toolbox, lang, limit)
        check_out(out)
        measure(opened(), cases, tools, rounds, settings, out, demanded, as_json, language(lang or "auto"))


@contextmanager
def server(mcp: str | None) -> Iterator[Runs | None]:
    """Yield the tools of an MCP server, None without one."""
    if not mcp:
        yield None
        return
    from danlu.tools.mcp import McpTools

    with McpTools(mcp) as tools:
        yield tools


def chosen(
    file: str | None, mcp: Runs | None, toolbox: str, lang: str | None, limit: int | None
) -> list[Case]:
    """Return the cases to play."""
    from danlu.evaluate.tools import boxes, cases, ready

    found = cases.read(file, "mcp" if mcp else toolbox) if file else ready.all_cases()
    if mcp and not file:
        everything, found = len(found), boxes.fitting(found, mcp)
        click.echo(f"{len(found)} of {everything} cases need only tools that the server has", err=True)
    found = [case for case in found if lang in (None, case.lang)]
    if not found:
        what = f"language '{lang}'" if lang else "tools that the server has"
        raise UserError(f"no case is of {what}", "--cases FILE with cases of your own")
    count = min(limit or len(found), len(found))
    found = [found[len(found) * number // count] for number in range(count)]
    for case in found:
        boxes.Box(case, boxes.toolboxes(mcp))
    return found


def check_out(out: str | None) -> None:
    """Refuse a report that cannot be written, before hours are spent on it."""
    if out and (os.path.isdir(out) or not os.access(Path(out).absolute().parent, os.W_OK)):
        raise UserError(f"--out {out}: cannot be written there", "a file in a folder that is there")


def measure(
    model: Model, cases: list[Case], mcp: Runs | None, rounds: int, settings: Settings, out: str | None,
    demanded: dict[str, float], as_json: bool, lang: str,
) -> None:  # fmt: skip
    """Play the cases and tell what came of it; whatever happens, what was played is in the report."""
    from danlu.base.paths import write_text
    from danlu.eval_tools_table import Progress, show
    from danlu.evaluate.tools import boxes, metrics, play, report
    from danlu.tools.told import json_text

    played: list[Played] = []
    problem: BaseException | None = None
    progress = Progress(len(cases))
    # Whoever ends us kindly finds what was played in the report, as after Ctrl-C; and a shell that starts us
    # in the background leaves Ctrl-C ignored.
    before = [(each, signal.signal(each, interrupts.handle)) for each in (signal.SIGTERM, signal.SIGINT)]
    try:
        for each in play.play(cases, model, boxes.toolboxes(mcp), rounds):
            played.append(each)
            progress.update(len(played))
    except (UserError, KeyboardInterrupt) as error:
        problem = error
    finally:
        for each_signal, handler in before:
            signal.signal(each_signal, handler)
        progress.close()
    if problem is None and not any(each.exchanges for each in played):
        problem = UserError(played[0].refused, "no question was answered; see what the server or model wants")
    order = {case.id: number for number, case in enumerate(cases)}
    played.sort(key=lambda each: order[each.case.id])
    words = "" if problem is None else getattr(problem, "problem", "stopped")
    told = report.report(played, len(cases), model.about, {**settings.as_body(), "rounds": rounds}, words)
    if out:
        write_text(Path(out), json_text(told, indent=1) + "\n")
    if problem is not None:
        done = f"{len(played)} of {len(cases)} cases were played" + (f"; they are in {out}" if out else "")
        if isinstance(problem, UserError):
            raise UserError(f"{problem.problem}; {done}", problem.hint) from None
        click.echo(done, err=True)
        raise problem
    if as_json:
        click.echo(
            json.dumps({key: value for key, value in told.items() if key != "cases"}, ensure_ascii=False)
        )
    else:
        show(told, lang)
    if short := metrics.below(metrics.measured([each.verdicts for each in played]), demanded):
        for line in short:
            click.echo(f"too low: {line}", err=True)
        sys.exit(1)
