"""`danlu serve`: finished weights behind OpenAI's API, with a page to talk to them.

    danlu serve out/full_sft_512
    curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\
         -d '{"messages": [{"role": "user", "content": "hello"}]}'

What a model is, how it is asked and how its calls are read comes from its folder (serve.json, or its
template), so that it answers as it was trained.
"""

from __future__ import annotations

import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from danlu.base.errors import UserError
from danlu.serve.address import keys_around, need_key

WORDS = {
    "en": {
        "loading": "loading {folder}",
        "ready": "{name} is served at {url} ({slots} answers at once, {length} tokens each)",
        "page": "  page    {url}/",
        "curl": "  ask     curl {chat} -H 'Content-Type: application/json'{key} "
        '-d \'{{"messages": [{{"role": "user", "content": "hello"}}]}}\'',
        "client": "  Python  OpenAI(base_url='{url}/v1', api_key='{secret}').chat.completions"
        ".create(model='{name}', messages=[...])",
        "stop": "  Ctrl-C lets answers under way come to their end, twice ends now.",
        "bye": "served {count} requests",
    },
    "zh": {
        "loading": "正在读取 {folder}",
        "ready": "{name} 已在 {url} 提供服务（同时回答 {slots} 个请求，每个至多 {length} 个 token）",
        "page": "  页面    {url}/",
        "curl": "  提问    curl {chat} -H 'Content-Type: application/json'{key} "
        '-d \'{{"messages": [{{"role": "user", "content": "你好"}}]}}\'',
        "client": "  Python  OpenAI(base_url='{url}/v1', api_key='{secret}').chat.completions"
        ".create(model='{name}', messages=[...])",
        "stop": "  Ctrl-C 等进行中的回答结束后退出，再按一次立即退出。",
        "bye": "共回答 {count} 个请求",
    },
}


@click.command(name="serve")
@click.argument("folder", metavar="DIR")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes any that is free."
)
@click.option("--name", default=None, help="What clients call the model. [the folder's name]")
@click.option(
    "--api-key", "keys", multiple=True, metavar="KEY",
    help="Who asks must send it. Repeatable. [$DANLU_API_KEY]",
)  # fmt: skip
@click.option("--insecure", is_flag=True, help="Listen beyond this host without a key.")
@click.option(
    "--cors", "origins", multiple=True, metavar="ORIGIN",
    help="Let pages of this origin call the server; '*' all, also a page opened from disk. Repeatable.",
)  # fmt: skip
@click.option(
    "--adapter", "adapters", multiple=True, metavar="NAME=DIR",
    help="Serve a LoRA adapter under a name of its own. Repeatable.",
)  # fmt: skip
@click.option(
    "--device", default="auto", metavar="NAME", help="auto: the accelerator if there is one. [auto]"
)
@click.option(
    "--dtype", default="auto", metavar="NAME",
    help="auto, float32, bfloat16 or float16; auto: what serve.json says. [auto]",
)  # fmt: skip
@click.option(
    "--max-model-len", type=click.IntRange(min=2), default=None, metavar="N",
    help="Tokens of a prompt and its answer together. [what the model can]",
)  # fmt: skip
@click.option("--slots", type=click.IntRange(1, 1024), default=16, show_default=True, help="Answers at once.")
@click.option(
    "--queue", type=click.IntRange(0, 100_000), default=256, show_default=True,
    help="Requests that may wait; more get a 429.",
)  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=600.0, show_default=True,
    help="Seconds a request may take, waiting included.",
)  # fmt: skip
@click.option(
    "--max-body",
    type=click.IntRange(min=1024),
    default=4 << 20,
    show_default=True,
    help="Bytes of a request.",
)
@click.option(
    "--grace", type=click.FloatRange(min=0.0), default=30.0, show_default=True,
    help="Seconds that answers under way have once the server is told to stop.",
)  # fmt: skip
@click.option("--quiet", is_flag=True, help="No line for each request.")
@click.option(
    "--lang", type=click.Choice(["auto", "en", "zh"]), default="auto", help="Language of the hints. [$LANG]"
)
def command(
    folder: str, host: str, port: int, name: str | None, keys: tuple[str, ...], insecure: bool,
    origins: tuple[str, ...], adapters: tuple[str, ...], device: str, dtype: str, max_model_len: int | None,
    slots: int, queue: int, timeout: float, max_body: int, grace: float, quiet: bool, lang: str,
) -> None:  # fmt: skip
    """Serve the model in DIR (finished weights, an export, a run or a checkpoint) behind OpenAI's API.

    \b
    danlu serve out/full_sft_512
    danlu serve out/full_sft_512 --port 0 --name assistant
    danlu serve out/full_sft_512 --host 0.0.0.0 --api-key SECRET
    danlu serve out/full_sft_512 --adapter poems=out/lora_poems
    """
    from danlu.chat import language

    words = WORDS[language(lang)]
    keys = keys or keys_around()
    if any(not key.isascii() or not key or key != key.strip() for key in keys):
        raise UserError(
            "--api-key: a key that is empty, not ASCII, or has blanks around it fits no header",
            "letters and digits",
        )
    _need_packages()
    from danlu.base.log import say
    from danlu.serve import app, running, served
    from danlu.serve.house import House, Rules
    from danlu.serve.meters import Meters
    from danlu.serve.port import listening
    from danlu.serve.worker import Worker

    need_key(host, bool(keys), insecure)
    named = {key: Path(value) for key, value in running.names(adapters).items()}
    with listening(host, port) as sock:
        say(words["loading"].format(folder=folder))
        path = Path(folder)
        # In a thread that ends: a thread that has computed keeps its team of OpenMP threads, and beside it
        # the engine's would wait asleep, not awake, at the end of every product: twice as slow.
        with ThreadPoolExecutor(1) as aside:
            name = name or path.resolve().name
            model = aside.submit(served.load, path, name, device, dtype, max_model_len, named).result()
        meters = Meters()
        worker = Worker(served.engine_maker(model, slots), meters, queue, timeout)
        house = House(model, worker, meters, Rules(keys, origins, max_body, quiet=quiet))
        url = running.place(sock)

        def ready() -> None:
            key = " -H 'Authorization: Bearer KEY'" if keys else ""
            values = {"name": model.name, "url": url, "slots": slots, "length": model.max_len, "key": key}
            values["secret"] = "KEY" if keys else "none"
            values["chat"] = shlex.quote(f"{url}/v1/chat/completions")  # brackets are a shell's pattern
            for line in ("ready", "page", "curl", "client", "stop"):
                print(words[line].format(**values), file=sys.stderr, flush=True)

        server = running.Server(app.build(house), worker, grace, ready)
        house.hang_up = server.hang_up
        try:
            running.run(server, sock)
        except SystemExit:  # uvicorn's, where it could not start
            if not worker.failure:
                raise
        if failure := worker.failure:
            told = str(failure) or type(failure).__name__
            raise UserError(f"the engine failed, so the server has ended: {told}", "the lines above say more")
        say(words["bye"].format(count=int(sum(meters.requests.values.values()))))


def _need_packages() -> None:
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"serving needs {error.name}",
            "pip install 'danlu[serve]', or: bash run_all.sh setup --extra serve",
        ) from None
