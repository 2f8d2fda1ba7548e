"""Takes answers apart with vLLM's own parsers, in vLLM's own Python: cases on standard input, lines out.

A case is {"tool_parser", "reasoning_parser", "text", "tools", "thinking", "eleventh"}. A line is {"whole":
[content, reasoning, calls], "streamed": [...]}, or an error's text for either: whole as vLLM parses complete
answers, streamed token by token, as its server does. The tokenizer has every letter, and every control token
that the formats use, as one token.
"""

import itertools
import json
import logging
import sys

import tokenizers
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CONTROL = [
    *(
        "<|im_start|>",
        "<|im_end|>",
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "[TOOL_CALLS]",
        "<|python_tag|>",
    ),
    *(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁sep｜>",
    ),
    *("<|action_start|>", "<|action_end|>", "<|plugin|>"),
]


def letters(*control):
    """Return a tokenizer of bytes and control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([tokenizers.AddedToken(each, special=True) for each in control])
    return PreTrainedTokenizerFast(tokenizer_object=made)


def units(tokenizer, text):
    """Yield text and ids as they arrive: control tokens, letters."""
    encoding = tokenizer.backend_tokenizer.encode(text)
    for place, group in itertools.groupby(zip(encoding.ids, encoding.offsets), key=lambda each: each[1]):
        yield text[slice(*place)], [number for number, _ in group]


def whole(parser, case, request, tokenizer):
    """Return content, reasoning and calls of an answer that is complete."""
    ids = tokenizer.encode(case["text"])
    reasoning, content, calls = parser.parse(
        case["text"], request, enable_auto_tools=True, model_output_token_ids=ids
    )
    return [content, reasoning, [[call.name, call.arguments] for call in calls or []]]


def streamed(parser, case, request, tokenizer):
    """Return the same of an answer that arrives token by token."""
    content, reasoning, calls = "", "", {}
    prompt = tokenizer.encode("<|im_start|>assistant\n" + ("<think>\n" if case["thinking"] else ""))
    pieces = [*units(tokenizer, case["text"]), ("", [])]
    for number, (text, ids) in enumerate(pieces, 1):
        delta = parser.parse_delta(text, ids, request, prompt, finished=number == len(pieces))
        if delta is None:
            continue
        content += delta.content or ""
        reasoning += delta.reasoning or ""
        for call in delta.tool_calls or []:
            told = calls.setdefault(call.index, ["", ""])
            told[0] += call.function.name or ""
            told[1] += call.function.arguments or ""
    return [content or None, reasoning or None, [calls[index] for index in sorted(calls)]]


def main():
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.parser import ParserManager

    logging.disable(logging.CRITICAL)
    before, eleventh = letters(*CONTROL), letters(*CONTROL, "[ARGS]")
    for case in json.load(sys.stdin):
        tokenizer = eleventh if case["eleventh"] else before
        kind = ParserManager.get_parser(case["tool_parser"], case["reasoning_parser"], enable_auto_tools=True)
        asked = {"chat_template_kwargs": {"enable_thinking": case["thinking"]}}
        question = [{"role": "user", "content": "?"}]
        request = ChatCompletionRequest(
            messages=question, model="m", tools=case["tools"], tool_choice="auto", **asked
        )
        line = {}
        for way in (whole, streamed):
            try:
                line[way.__name__] = way(kind(tokenizer, request.tools, **asked), case, request, tokenizer)
            except Exception as error:
                line[way.__name__] = repr(error)
        print(json.dumps(line), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    sys.stdout = sys.stderr
    main()
