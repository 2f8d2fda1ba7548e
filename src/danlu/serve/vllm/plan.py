"""The exact command that serves some weights on this host, and what there is to say about it.

    plan(Wish(folder="out/full_sft_512-hf"))

        env VLLM_CPU_KVCACHE_SPACE=1 ... .venv-vllm/bin/python -m vllm.entrypoints.openai.api_server
            --model out/full_sft_512-hf --dtype bfloat16 --max-model-len 32768 --tool-call-parser hermes ...

Parsers, template, number format and length are the profile's, so that a server reads and answers as training
did. Where vLLM cannot serve, the command is that of the built-in server, and the remarks say why.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from danlu.base import paths
from danlu.base.errors import UserError
from danlu.device import hosting
from danlu.generate.profile import Profile, vllm_options
from danlu.serve import address
from danlu.serve.address import KEY, need_key
from danlu.serve.vllm import container
from danlu.serve.vllm.degree import degree
from danlu.serve.vllm.memory import room
from danlu.serve.vllm.model import NUMBER_BYTES, Model, read, read_adapter
from danlu.serve.vllm.unfit import Host, unfit

MODULE = "vllm.entrypoints.openai.api_server"
SETUP = "bash run_all.sh setup --with vllm, or DANLU_VLLM_PYTHON=the Python of an environment with vLLM"
ASKED = "the built-in server, as asked"
# The trainer's own settings lead into no other environment.
UNSET = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
QUIET = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
# Small models lose themselves in white space where a grammar allows as much as they like.
GRAMMAR = ("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}')
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM makes room for; an adapter gets the next."""


@dataclass(frozen=True)
class Wish:
    """What a user asks for; what is not said is told by the weights and the host."""

    folder: str
    device: str = "auto"
    devices: tuple[int, ...] = ()
    tp: int | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    key: str = field(default="", repr=False)
    insecure: bool = False
    name: str = ""
    runtime: str = "auto"
    backend: str = "auto"
    """builtin: the built-in server, whatever vLLM could do."""
    image: str = ""
    max_model_len: int | None = None
    dtype: str = ""
    adapters: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] = ()
    """Given to vLLM as they are."""


@dataclass(frozen=True)
class Plan:
    """A command, what it is for, and what there is to say about it."""

    server: str
    """vllm, or danlu: the built-in one."""
    command: tuple[str, ...]
    environment: dict[str, str]
    name: str
    host: str
    port: int
    profile: Profile
    key: str = field(default="", repr=False)
    remarks: tuple[str, ...] = ()
    container: str = ""
    """The container's name, where there is one."""

    @property
    def url(self) -> str:
        """Return where it answers, as seen from this host."""
        return address.url(self.host, self.port)

    def shown(self) -> str:
        """Return the command as a line to paste; a key is named, not told."""
        unset = [word for name in UNSET if name in os.environ for word in ("-u", name)]
        given = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        given += [f'VLLM_API_KEY="${KEY}"'] if self.key and self.server == "vllm" else []
        return " ".join(["env", *unset, *given, shlex.join(self.command)])


def plan(wish: Wish) -> Plan:
    """Return how these weights are served here."""
    _check(wish)
    model = read(wish.folder)
    host = look(wish)
    why = ASKED if wish.backend == "builtin" else unfit(host, model)
    if why:
        return _built_in(wish, model, host, why)
    if host.runtime == "host" and host.python is None:
        raise UserError("vLLM is not installed here", SETUP)
    return _vllm(wish, model, host)


def look(wish: Wish) -> Host:
    """Return what this host would serve with."""
    kind = hosting.choose(wish.device)
    python = find_python()
    runtime = wish.runtime
    if runtime == "auto":  # for Ascend it is published as images alone
        runtime = "docker" if kind.images_alone and python is None else "host"
    return Host(kind, hosting.chip(kind), runtime, python if runtime == "host" else None)


def find_python() -> Path | None:
    """Return the Python of an environment with vLLM: the one named, else this clone's."""
    if named := os.environ.get("DANLU_VLLM_PYTHON"):
        return Path(shutil.which(named) or named)
    clone = paths.PACKAGE.parents[1]
    found = clone / ".venv-vllm/bin/python"
    return found if found.exists() else None


def _check(wish: Wish) -> None:
    need_key(wish.host, bool(wish.key), wish.insecure)
    if wish.dtype and wish.dtype not in NUMBER_BYTES:
        raise UserError(f"--dtype {wish.dtype}: not a number format", "one of: " + ", ".join(NUMBER_BYTES))


def _vllm(wish: Wish, model: Model, host: Host) -> Plan:
    numbers, size, remarks = _devices(wish, model, host)
    dtype, why = hosting.number_format(host.kind, host.chip, model.profile.dtype)
    if wish.dtype:
        dtype, why = wish.dtype, ""
    wanted = replace(model.profile, dtype=dtype, max_model_len=_length(wish, model))
    length, environment, less = room(host.kind, model, wanted)
    wanted = replace(wanted, max_model_len=length)
    place = container.MODEL if host.runtime == "docker" else str(model.folder)
    words = ["--model", place, "--served-model-name", wish.name or model.name]
    words += ["--host", "0.0.0.0" if host.runtime == "docker" else wish.host, "--port", str(wish.port)]
    words += [*vllm_options(wanted), "--tensor-parallel-size", str(size)]
    words += GRAMMAR
    if wanted.chat_template:
        words += ["--chat-template", f"{place}/{wanted.chat_template}"]
    words += _adapters(wish, host) + list(wish.words)
    environment |= QUIET
    if host.runtime == "docker":
        name = f"danlu-vllm-{wish.port}"
        image = wish.image or hosting.image(host.kind, host.chip)
        mounts = {str(model.folder.resolve()): place} | container.mounts(wish.adapters)
        command = container.run(name, image, host.kind, numbers, mounts, environment, wish, [MODULE, *words])
        environment = {}
    else:
        name = ""
        command = [str(host.python), "-m", MODULE, *words]
        environment |= host.kind.shown(numbers)
    said = tuple(remark for remark in [*remarks, why, less] if remark)
    shown = wish.name or model.name
    return Plan(
        "vllm", tuple(command), environment, shown, wish.host, wish.port, wanted, wish.key, said, name
    )


def _devices(wish: Wish, model: Model, host: Host) -> tuple[list[int], int, list[str]]:
    """Return the numbers of the devices to use, over how many the model is split, and remarks."""
    here = host.kind.numbers()
    missing = sorted(set(wish.devices) - set(here)) if host.kind.pattern else []
    if missing:
        raise UserError(
            f"--devices: there is no {host.kind.name} device {', '.join(map(str, missing))}",
            f"this host has {', '.join(map(str, here))}",
        )
    chosen = sorted(set(wish.devices)) or here
    split = degree(model, max(1, len(chosen)), wish.tp)
    return chosen[: split.size], split.size, [split.reason]


def _length(wish: Wish, model: Model) -> int:
    longest = model.profile.max_model_len
    if wish.max_model_len and wish.max_model_len > longest:
        raise UserError(
            f"--max-model-len {wish.max_model_len}: the model reads {longest}", f"at most {longest}"
        )
    return wish.max_model_len or longest


def _adapters(wish: Wish, host: Host) -> list[str]:
    if not wish.adapters:
        return []
    rank = max(read_adapter(folder) for _, folder in wish.adapters)
    words = ["--enable-lora", "--max-lora-rank", str(next((size for size in RANKS if size >= rank), rank))]
    words += ["--max-loras", str(len(wish.adapters)), "--lora-modules"]
    in_container = container.mounts(wish.adapters)
    for name, folder in wish.adapters:
        path = str(Path(folder).resolve())
        words.append(f"{name}={in_container[path] if host.runtime == 'docker' else path}")
    # On a processor 0.32 fails at three prompts with an adapter.
    return words + (["--max-num-seqs", "1"] if host.kind.name == "cpu" else [])


def _built_in(wish: Wish, model: Model, host: Host, why: str) -> Plan:
    """Return the built-in server's command for the same wish, on the same device."""
    name = wish.name or model.name
    command = [sys.executable, "-m", "danlu", "serve", str(model.folder), "--host", wish.host]
    command += ["--port", str(wish.port), "--name", name, "--device", host.kind.name]
    for option, value in (("--dtype", wish.dtype), ("--max-model-len", wish.max_model_len)):
        command += [option, str(value)] if value else []
    for adapter, folder in wish.adapters:
        command += ["--adapter", f"{adapter}={folder}"]
    command += ["--insecure"] if wish.insecure else []
    chosen: Sequence[int] = sorted(set(wish.devices)) or host.kind.numbers()
    remarks = [why if why == ASKED else f"{why}; the built-in server answers instead"]
    if len(chosen) > 1:
        remarks.append(f"it computes on one device: {host.kind.name} {chosen[0]}")
    if wish.words:
        remarks.append(f"vLLM's own words are left out: {shlex.join(wish.words)}")
    return Plan(
        "danlu",
        tuple(command),
        host.kind.shown(chosen[:1]),
        name,
        wish.host,
        wish.port,
        model.profile,
        wish.key,
        tuple(remarks),
    )
