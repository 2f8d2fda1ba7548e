"""Texts continued, token by token: what each is called, and where in the text it stands."""

import pytest

from danlu.serve.spelling import Offsets, Spelling
from generate.models import TOKENIZER
from serve.plain import asked
from serve.servers import serving

TEXT = "大海 Once 🌊龘 upon"


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


def continued(server, **more):
    body = {"prompt": TEXT, "max_tokens": 24, "temperature": 0, "logprobs": 5, "ignore_eos": True}
    status, told, _ = asked(f"{server.url}/v1/completions", {**body, **more})
    assert status == 200, told
    return told["choices"][0]


def test_every_token_has_a_name_of_its_own():
    names = [Spelling(TOKENIZER).name(token) for token in range(TOKENIZER.size)]
    assert len(set(names)) == TOKENIZER.size
    assert "大" in names and "bytes:\\xf0" in names


@pytest.mark.parametrize("prompt", [TEXT, [4, *TOKENIZER.encode(TEXT)]])
@pytest.mark.parametrize("skips", [True, False])
def test_tokens_stand_where_they_are_said_to(server, prompt, skips):
    choice = continued(server, prompt=prompt, echo=True, skip_special_tokens=skips, return_token_ids=True)
    scores, text, spelling = choice["logprobs"], choice["text"], Spelling(TOKENIZER)
    ids = choice["prompt_token_ids"] + choice["token_ids"]
    assert len(scores["tokens"]) == len(scores["text_offset"]) == len(ids) > 30
    shown = 0
    for place, (token, name, offset) in enumerate(zip(ids, scores["tokens"], scores["text_offset"])):
        begins = isinstance(prompt, str) and not place
        if begins or (skips and spelling.is_control(token) and place >= len(choice["prompt_token_ids"])):
            continue
        assert name.startswith("bytes:") or text.startswith(name, offset), (place, name, text[offset:])
        shown += not name.startswith("bytes:")
    assert shown > 10 and scores["text_offset"][0] == 0
    assert all(5 <= len(top) <= 6 for top in scores["top_logprobs"][1:])


def test_parts_of_a_character_stand_where_it_does():
    offsets = Offsets()
    begins = [offsets.next([byte]) for byte in "a大b".encode() + "大".encode()[:2] + b"c"]
    assert begins == [0, 1, 1, 1, 2, 3, 3, 4] and offsets.end == 5


@pytest.mark.parametrize("begin", [True, False])
def test_an_empty_text_has_no_place(server, begin):
    choice = continued(server, prompt="", echo=True, add_special_tokens=begin)
    assert choice["logprobs"]["text_offset"][:2] == [0, 0]
