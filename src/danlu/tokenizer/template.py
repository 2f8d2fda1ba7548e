"""Render a chat template: Jinja, in its sandbox, with what Hugging Face templates expect to find.

A template comes with a downloaded tokenizer, so it is a stranger's program. The sandbox lets it
read the messages and make text, nothing else. The filters and globals are those of transformers,
so that what is trained is what any server renders.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from danlu.base.errors import UserError

Message = Mapping[str, Any]
OURS = (Path(__file__).parent / "chatml.jinja").read_text(encoding="utf-8")


class Generation(jinja2.ext.Extension):
    """Lets `{% generation %}` blocks through; we find the assistant's words without them."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(layout: str) -> str:
    return datetime.datetime.now().strftime(layout)


@functools.lru_cache(maxsize=16)
def compiled(template: str) -> jinja2.Template:
    """Return a template ready to render, or say where its mistake is. Only a stranger's needs the sandbox."""
    safe = jinja2.Environment if template == OURS else jinja2.sandbox.ImmutableSandboxedEnvironment
    room = safe(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    room.filters["tojson"] = _tojson
    room.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    try:
        return room.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise UserError(
            f"the chat template, line {error.lineno}: {error.message}", "mend chat_template.jinja"
        ) from None


def render(
    template: str,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = False,
    enable_thinking: bool | None = None,
    variables: Mapping[str, Any] | None = None,
) -> str:
    """Return the text a model reads for these messages.

    As in transformers, a field that is None counts as absent, and `enable_thinking` is undefined
    unless it is said. `variables` are whatever else the template may ask for.
    """
    given: dict[str, Any] = {
        **(variables or {}),
        "add_generation_prompt": add_generation_prompt,
        "documents": None,
    }
    if enable_thinking is not None:
        given["enable_thinking"] = enable_thinking
    plain = [{key: value for key, value in message.items() if value is not None} for message in messages]
    try:
        text = compiled(template).render(messages=plain, tools=list(tools) if tools else None, **given)
        text.encode()
    except UnicodeEncodeError as error:  # hidden in a call's arguments, where JSON may write it as \ud800
        half = error.object[error.start].encode("ascii", "backslashreplace").decode()
        raise UserError(f"the chat holds half a character, {half}", "write the whole character") from None
    except Exception as error:  # a stranger's program: whatever it raises is its answer
        raise UserError(
            f"the chat template refuses this chat: {error}", "mend the messages, or use another template"
        ) from None
    return text
