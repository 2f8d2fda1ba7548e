"""The built-in server under the suite that vLLM has to pass too (client_suite.py); then what it alone has."""

import openai
import pytest
import torch

from danlu.generate.adapters import Adapters
from generate.models import TOKENIZER, tiny
from serve.adapters import made
from serve.client_suite import *  # noqa: F403
from serve.client_suite import Server
from serve.servers import CONTEXT, MODEL, messages, served, serving


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield Server(running.url, "tiny", CONTEXT)


def client_of(url, **keys):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", **keys)


def test_embeddings(server):
    """The client asks for base64 and decodes it."""
    texts = ["steel", "钢是铁和碳的合金。"]
    told = client_of(server.url).embeddings.create(model="tiny", input=texts)
    assert [each.index for each in told.data] == [0, 1] and told.usage.prompt_tokens > 2
    for each, text in zip(told.data, texts):
        with torch.inference_mode():
            hidden = MODEL(torch.tensor([TOKENIZER.beginning() + TOKENIZER.encode(text)])).hidden[0, -1]
        assert torch.allclose(torch.tensor(each.embedding), hidden / hidden.norm(), atol=1e-5)


def test_a_full_queue_is_a_rate_limit():
    with serving(slots=1, queue=1) as running:
        client = client_of(running.url, max_retries=0)
        held = client.chat.completions.create(
            model="tiny", messages=messages("hi"), stream=True,
            extra_body={"ignore_eos": True},
        )  # fmt: skip
        with held, pytest.raises(openai.RateLimitError) as problem:
            client.chat.completions.create(model="tiny", messages=messages("hi"), n=2)
        assert int(problem.value.response.headers["retry-after"]) >= 1
        assert problem.value.code == "queue_full"


def test_adapters_by_name(tmp_path):
    model = tiny(max_position_embeddings=CONTEXT)
    beside = Adapters(model)
    beside.load("poet", made(model, tmp_path / "poet", 0))
    with serving(served(model, adapters=beside)) as running:
        client = client_of(running.url)
        assert [card.id for card in client.models.list()] == ["tiny", "poet"]
        said = {}
        for name in ("tiny", "poet"):
            told = client.chat.completions.create(
                model=name, messages=messages("hi"), temperature=0, max_tokens=16
            )
            assert told.model == name
            said[name] = told.choices[0].message.content
        assert said["tiny"] != said["poet"]
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="poets", messages=messages("hi"))
