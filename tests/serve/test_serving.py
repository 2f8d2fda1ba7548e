"""`danlu serve` as a user starts, asks and stops it."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from danlu.base.errors import UserError
from danlu.cli import main
from danlu.generate.engine import complete
from danlu.generate.prompt import context
from danlu.generate.sample import Sampling
from danlu.serve import address, served
from danlu.serve.port import listening
from danlu.serving import WORDS, command
from generate.models import TOKENIZER, finished, tiny
from serve.plain import asked, events
from serve.servers import MODEL, endless, messages

FLAGS = ["--device", "cpu", "--dtype", "float32", "--port", "0", "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("out") / "full_sft_64", MODEL)


class Started:
    """The command in a process of its own."""

    def __init__(self, folder, *words, lang="en", **env):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "danlu", "serve", str(folder), *FLAGS, "--lang", lang, *words],
            stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": "src", "OMP_NUM_THREADS": "1", **env},
        )  # fmt: skip
        self.said = []
        assert self.process.stderr
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"http://[0-9.:]+", line):
                self.url = found[0].rstrip(".")
            if "Ctrl-C" in line:
                break

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.said += self.process.communicate(timeout=60)[1].splitlines(keepends=True)
        return self.process.returncode


def test_it_says_where_it_is_answers_and_leaves_on_a_signal(folder):
    started = Started(folder, "--name", "smith")
    assert asked(f"{started.url}/v1/models")[1]["data"][0]["id"] == "smith"
    body = {"messages": messages("hi"), "temperature": 0, "max_tokens": 8, "return_token_ids": True}
    told = asked(f"{started.url}/v1/chat/completions", body)[1]
    expected = complete(MODEL, TOKENIZER, [told["prompt_token_ids"]], Sampling(temperature=0.0, max_tokens=8))
    assert told["choices"][0]["token_ids"] == expected[0].tokens
    assert started.end() == 0
    text = "".join(started.said)
    assert (
        "smith is served at http://127.0.0.1:" in text
        and "curl http://" in text
        and f"OpenAI(base_url='{started.url}/v1', api_key='none')" in text
        and "served 2 requests" in text
    )
    assert "Traceback" not in text


def test_a_signal_lets_an_answer_come_to_its_end(tmp_path):
    started = Started(finished(tmp_path / "endless", endless()), lang="zh")
    body = {"messages": messages("hi"), "max_tokens": 200, "ignore_eos": True, "stream": True}
    lines = events(f"{started.url}/v1/chat/completions", body)
    next(lines)
    started.process.send_signal(signal.SIGTERM)
    assert list(lines)[-1] == "data: [DONE]"
    started.said += started.process.communicate(timeout=60)[1].splitlines()
    assert started.process.returncode == 0 and "已在" in "".join(started.said)


def test_keys_come_from_the_environment_too(folder):
    started = Started(folder, DANLU_API_KEY="one, two")
    assert asked(f"{started.url}/v1/models")[0] == 401
    assert asked(f"{started.url}/v1/models", headers={"Authorization": "Bearer two"})[0] == 200
    assert started.end(signal.SIGINT) == 0
    assert "Authorization: Bearer KEY" in "".join(started.said)


def test_a_run_is_served_as_its_export_is(folder):
    """What a folder of weights is told to be served as is what its model can."""
    model = served.load(folder, "x", "cpu", "float32", None, {})
    assert model.max_len == context(model.model) and model.profile.tool_parser == "hermes"
    assert model.ends == {TOKENIZER.eos_id, TOKENIZER.pad_id}
    assert served.load(folder, "x", "cpu", "float32", 100, {}).max_len == 100
    with pytest.raises(UserError, match="--max-model-len: 513 is more than the model's 512"):
        served.load(folder, "x", "cpu", "float32", 513, {})


def test_what_the_author_advises_is_the_default(tmp_path):
    place = finished(tmp_path / "advised", tiny())
    (place / "generation_config.json").write_text('{"temperature": 0.6, "top_k": 20, "eos_token_id": [2]}')
    assert served.load(place, "x", "cpu", "float32", None, {}).advised == {"temperature": 0.6, "top_k": 20}
    (place / "generation_config.json").write_text('{"temperature": 9}')
    with pytest.raises(UserError, match="generation_config.json: cannot be used"):
        served.load(place, "x", "cpu", "float32", None, {})


def refused(capsys, *words):
    with pytest.raises(SystemExit) as left:
        main(["serve", *map(str, words)])
    assert left.value.code == 2
    *before, problem, hint = capsys.readouterr().err.splitlines()
    assert problem.startswith("error: ") and hint.startswith("  try: ")
    assert [line.split()[0] for line in before] in ([], ["loading"], ["正在读取"])
    return f"{problem} {hint}"


def test_a_token_is_sent_at_once_and_never_waits_for_the_one_before():
    async def delays() -> list[int]:
        met: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        with listening("127.0.0.1", 0) as sock:
            async with await asyncio.start_server(lambda _, writer: met.put_nowait(writer), sock=sock):
                _, ours = await asyncio.open_connection(*sock.getsockname())
                writers = (await met.get(), ours)
                told = [
                    writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                    for writer in writers
                ]
                for writer in writers:
                    writer.close()
                return told

    assert all(asyncio.run(delays()))


def test_a_port_in_use_is_told_before_anything_is_read(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = refused(capsys, "no/such/folder", "--port", port)
        assert f"port {port} of 127.0.0.1 is in use" in told and "--port 0" in told
        assert f"process {os.getpid()}" in told


def test_a_port_is_one_servers_while_its_model_is_still_read():
    with listening("127.0.0.1", 0) as sock, pytest.raises(UserError, match="is in use by"):
        listening("127.0.0.1", sock.getsockname()[1])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["{}", "--host", "0.0.0.0"],
            "--api-key KEY (or DANLU_API_KEY=KEY in the environment), or --insecure",
        ),
        (["{}", "--host", "nowhere.invalid", "--insecure"], "is no address of this host"),
        (["{}", "--host", "2001:db8::1", "--insecure"], "is no address of this host"),
        (["no/such"], "no such folder"),
        (["{}", "--api-key", ""], "--api-key"),
        (["{}", "--api-key", "ключ"], "--api-key"),
        (["{}", "--adapter", "x"], "--adapter NAME=DIR"),
        (["{}", "--adapter", "x=a", "--adapter", "x=b"], "'x' twice"),
        (["{}", "--slots", "0"], "--slots"),
        (["{}", "--max-model-len", "1000"], "is more than the model's 512"),
        (["{}", "--dtype", "float8"], "there is no dtype 'float8'"),
    ],
    ids=str,
)
def test_a_mistake_is_two_lines_and_exit_code_2(folder, words, says, capsys):
    assert says in refused(capsys, *(word.format(folder) for word in words), "--port", "0")


def test_only_this_host_reaches_a_loopback():
    assert all(map(address.loopback, ("127.0.0.1", "127.9.9.9", "localhost", "::1")))
    assert not any(map(address.loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org")))


def test_both_languages_say_the_same_and_help_is_quick():
    assert WORDS["en"].keys() == WORDS["zh"].keys()
    assert "--api-key" in CliRunner().invoke(command, ["--help"]).stdout
    began = time.perf_counter()
    code = (
        "import sys, danlu.serving; sys.exit(any(n in sys.modules for n in ('torch', 'fastapi', 'uvicorn')))"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": "src"})
    assert done.returncode == 0 and time.perf_counter() - began < 30
