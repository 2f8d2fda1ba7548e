"""Chat templates shaped like those of well-known families, written small, to try ours on strangers.

Each is (control tokens beside the starter's, end token, template). They do what makes life hard: cut
thoughts from content, trim, look at how a user's text begins, write no end token, no header token.
"""

from __future__ import annotations

import json

from danlu.tokenizer.tokenizer import Tokenizer

THOUGHTS_CUT = """\
{%- for m in messages %}
{%- set content = m.content if m.content is string else '' %}
{%- if m.role == 'assistant' %}
{%- set thought = '' %}
{%- if '</think>' in content %}
{%- set thought = content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>assistant\\n' }}
{%- if loop.last and thought %}{{- '<think>\\n' + thought + '\\n</think>\\n\\n' }}{%- endif %}
{{- content }}
{%- for call in m.tool_calls or [] %}
{{- '\\n<tool_call>\\n' + call.function | tojson + '\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- elif m.role == 'user' and content.startswith('<tool_response>') %}
{{- '<|im_start|>user\\nTOOL' + content + '<|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>' + m.role + '\\n' + content | trim + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

ALWAYS_THINKS = """\
{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\\n' }}
{%- if m.role == 'assistant' %}
{{- '<think>\\n' + (m.reasoning_content or '') + '\\n</think>\\n\\n' }}
{%- endif %}
{{- m.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}{%- endif %}
"""

HEADER_TOKENS = """\
{{- bos_token }}
{%- for m in messages %}
{{- '<|head|>' + m['role'] + '<|/head|>\\n\\n' + m['content'] | trim + '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|head|>assistant<|/head|>\\n\\n' }}{%- endif %}
"""

NEXT_SPEAKER_ENDS = """\
{%- for m in messages %}
{{- '<|' + m.role + '|>\\n' + m.content }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{%- endif %}
"""

WORDS_ONLY = """\
{%- for m in messages %}
{%- if m.role == 'assistant' %}{% generation %}{{- 'ASSISTANT: ' + m.content + '</s>' }}{% endgeneration %}
{%- else %}{{- m.role | upper + ': ' + m.content + ' ' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- 'ASSISTANT:' }}{%- endif %}
"""

NO_END = """\
{%- for m in messages %}
{{- '### ' + m.role + ':\\n' + m.content + '\\n\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '### assistant:\\n' }}{%- endif %}
"""

SHOUTS = "{%- for m in messages %}{{- m.role + ': ' + m.content | upper }}{%- endfor %}"
FORGETS = "{%- for m in messages %}{%- if m.role == 'user' %}{{- m.content }}{%- endif %}{%- endfor %}"
REPEATS = "{%- for m in messages %}{{- m.content + '/' + m.content }}{%- endfor %}"

SPEAKERS = ["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"]


def family(template: str, tokens: list[str] | None = None, end: str = "<|im_end|>") -> Tokenizer:
    """Return the starter tokenizer with more control tokens and another template."""
    starter = Tokenizer.load("starter")
    layout = json.loads(starter._json)
    for number, content in enumerate(tokens or []):
        layout["added_tokens"].append(
            {**layout["added_tokens"][0], "id": starter.size + number, "content": content}
        )
    return Tokenizer(
        json.dumps(layout), {"eos_token": end, "bos_token": "<|endoftext|>"}, template, name="stranger"
    )
