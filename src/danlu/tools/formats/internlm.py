"""Calls as JSON objects between control tokens.

<|action_start|><|plugin|>
{"name": "get_weather", "parameters": {"city": "北京"}}
<|action_end|>
"""

from __future__ import annotations

from danlu.tools.formats.hermes import Hermes


class InternLM(Hermes):
    opens: tuple[str, ...] = ("<|action_start|><|plugin|>",)
    close = "<|action_end|>"
