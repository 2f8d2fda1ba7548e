"""How calls are written: a format a file, by the names that vLLM gives its parsers.

    hermes          <tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>
    qwen3_coder     <tool_call><function=f><parameter=x>1</parameter></function></tool_call>
    glm45           <tool_call>f<arg_key>x</arg_key><arg_value>1</arg_value></tool_call>
    mistral         [TOOL_CALLS][{"name": "f", "arguments": {"x": 1}}]   [TOOL_CALLS]f{"x": 1}
    deepseek_v3     <｜tool▁call▁begin｜>function<｜tool▁sep｜>f, and a fenced object
    internlm        <|action_start|><|plugin|>{"name": "f", "parameters": {"x": 1}}<|action_end|>
    phi4_mini_json  functools[{"name": "f", "arguments": {"x": 1}}]
    llama3_json     {"name": "f", "parameters": {"x": 1}}
    pythonic        [f(x=1)]

A format says which marks open calls, and reads what follows one. It raises NoCall where there is none
after all; whatever it consumed and did not settle is then told as text.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol

from danlu.base.errors import pick
from danlu.tools.tape import Tape, Wait
from danlu.tools.told import Told

FORMATS = {
    "hermes": "danlu.tools.formats.hermes:Hermes",
    "qwen3_coder": "danlu.tools.formats.qwen3_coder:Qwen3Coder",
    "glm45": "danlu.tools.formats.glm45:Glm45",
    "mistral": "danlu.tools.formats.mistral:Mistral",
    "deepseek_v3": "danlu.tools.formats.deepseek_v3:DeepSeekV3",
    "internlm": "danlu.tools.formats.internlm:InternLM",
    "phi4_mini_json": "danlu.tools.formats.phi4_mini_json:Phi4MiniJson",
    "llama3_json": "danlu.tools.formats.llama3_json:Llama3Json",
    "pythonic": "danlu.tools.formats.pythonic:Pythonic",
}


class Format(Protocol):
    """One way to write calls."""

    opens: tuple[str, ...]
    """Marks that open calls wherever they stand."""
    first: tuple[str, ...]
    """What opens calls where an answer begins with it; it is left to be read."""

    def calls(self, tape: Tape, told: Told, mark: str) -> Wait:
        """Read and tell what follows an opening mark, "" at the beginning: a call, or all that it opens."""


def format_of(name: str, tools: Sequence[dict[str, Any]] = ()) -> Format:
    """Return the format of a name; `tools` tells the types of arguments that are written without quotes."""
    module, _, kind = FORMATS[pick("tool parser", name, FORMATS)].partition(":")
    made: Format = getattr(importlib.import_module(module), kind)(tools)
    return made
