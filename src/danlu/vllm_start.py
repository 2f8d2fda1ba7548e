"""`danlu vllm start DIR`, where the word may be left out: plan, start, watch, prove, attend."""

from __future__ import annotations

import re
import shlex

import click

from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.serve.address import KEY, first_key
from danlu.serve.vllm import launch
from danlu.serve.vllm.plan import Plan, Wish, find_python, plan


class Pair(click.ParamType):
    """NAME=DIR."""

    name = "NAME=DIR"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        name, found, folder = value.partition("=")
        if not found or not name or not folder:
            raise UserError(f"--adapter {value}: not NAME=DIR", "--adapter poet=out/poet-adapter")
        return name, folder


class Numbers(click.ParamType):
    """Devices: 0-3,6."""

    name = "LIST"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        found: list[int] = []
        for part in str(value).split(",") if value else []:
            bounds = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
            if not bounds:
                raise UserError(f"--devices {value}: '{part}'?", "--devices 0-3,6")
            found += range(int(bounds[1]), int(bounds[2] or bounds[1]) + 1)
        return tuple(sorted(set(found)))


@click.command(name="start")
@click.argument("folder", metavar="DIR")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.option("--dry-run", is_flag=True, help="Print the command and why it is that; start nothing.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(1, 65535),
    metavar="N",
    help="And where there.",
)
@click.option("--api-key", "key", default=first_key, metavar="WORD", help=f"What clients must show. [${KEY}]")
@click.option("--insecure", is_flag=True, help="Listen beyond this host without a key.")
@click.option("--name", default="", metavar="NAME", help="The model's name for clients. [the folder's]")
@click.option(
    "--device", default="auto", show_default=True, metavar="KIND", help="What kind of device to use."
)
@click.option("--devices", default=(), type=Numbers(), help="Which of them, such as 0-3,6. [all]")
@click.option(
    "--tp", type=click.IntRange(1), metavar="N", help="Devices that share the model. [as many as divide it]"
)
@click.option(
    "--runtime",
    default="auto",
    type=click.Choice(["auto", "host", "docker"]),
    help="Its own environment here, or a container. [auto]",
)
@click.option(
    "--backend",
    default="auto",
    type=click.Choice(["auto", "builtin"]),
    help="builtin: the built-in server in vLLM's place. [vLLM where it can]",
)
@click.option(
    "--image", default="", metavar="NAME", help="The container's image. [the one pinned for the device]"
)
@click.option(
    "--max-model-len",
    type=click.IntRange(1),
    metavar="N",
    help="Longest text, answer included. [the model's]",
)
@click.option("--dtype", default="", metavar="NAME", help="float32, bfloat16 or float16. [the weights']")
@click.option(
    "--adapter", "adapters", multiple=True, type=Pair(), help="Also serve a LoRA adapter by name. Repeatable."
)
@click.option("--detach", is_flag=True, help="Leave it running once it has proved itself.")
@click.option(
    "--timeout", default=900.0, show_default=True, metavar="SECONDS", help="How long it may take to be ready."
)
@click.option(
    "--needs", is_flag=True, hidden=True, help="Print what must be installed first: vllm, or nothing."
)
def command(
    folder: str, words: tuple[str, ...], dry_run: bool, detach: bool, timeout: float, needs: bool,
    key: str, adapters: tuple[tuple[str, str], ...], **given: object,
) -> None:  # fmt: skip
    """Serve the export in DIR. Words after `--` go to vLLM as they are.

    \b
    danlu vllm out/full_sft_512-hf --devices 0-3 --port 9000
    danlu vllm out/full_sft_512-hf -- --enforce-eager
    """
    wish = Wish(folder=folder, words=words, key=key or "", adapters=adapters, **given)  # type: ignore[arg-type]
    if needs:
        click.echo(missing(wish))
        return
    chosen = plan(wish)
    for remark in chosen.remarks:
        say(remark)
    if dry_run:
        click.echo(chosen.shown())
        return
    say(chosen.shown())
    run(chosen, folder, detach, timeout)


def missing(wish: Wish) -> str:
    """Return `vllm` where a plan would fail for nothing but its environment, else nothing."""
    if find_python() is not None:
        return ""
    try:
        plan(wish)
    except UserError as error:
        return "vllm" if "vLLM is not installed" in error.problem else ""
    return ""


def run(chosen: Plan, folder: str, detach: bool, timeout: float) -> None:
    """Start a server and attend to it until its end, or leave it when it has proved itself."""
    what = launch.CALLED[chosen.server]
    with launch.Interrupts() as interrupts:
        attended = launch.begin(chosen, folder)
        try:
            with interrupts.armed():
                say(f"its log: {attended.server.log}")
                for line in launch.ready(attended, chosen, timeout):
                    say(line)
                say(how_to_talk(chosen))
                if detach:
                    say(f"danlu vllm stop {chosen.port} ends it")
                    return
                say("Ctrl-C ends it")
                if launch.attend(attended, what):
                    say(f"{what} was stopped")
        except launch.Stopped:
            say(f"ending {what}")
            launch.stop(attended.server)
        except BaseException:
            launch.stop(attended.server)
            raise


def how_to_talk(chosen: Plan) -> str:
    """Return where a server answers, and a line that asks it something."""
    path, asked = "/v1/chat/completions", '"messages": [{"role": "user", "content": "你好"}]'
    if not chosen.profile.chat_template:
        path, asked = "/v1/completions", '"prompt": "从前", "max_tokens": 32'
    words = ["curl", shlex.quote(f"{chosen.url}{path}"), "-H 'Content-Type: application/json'"]
    words += [f'-H "Authorization: Bearer ${KEY}"'] if chosen.key else []
    words.append(f"""-d '{{"model": "{chosen.name}", {asked}}}'""")
    lines = [f"{chosen.url}/v1 answers as {chosen.name}:", f"  {' '.join(words)}"]
    if chosen.server == "danlu":
        lines.insert(1, f"  page    {chosen.url}/")
    if chosen.profile.chat_template:
        key = f"os.environ['{KEY}']" if chosen.key else "'none'"
        lines.append(
            f"  Python  OpenAI(base_url='{chosen.url}/v1', api_key={key}).chat.completions"
            f".create(model='{chosen.name}', messages=[...])"
        )
    return "\n".join(lines)
