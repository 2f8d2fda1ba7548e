"""What a request may ask besides its tokens: grammars, scores, biases, when to end, what to show."""

from __future__ import annotations

import pytest
import torch

from danlu.base.errors import UserError
from danlu.generate import schedule, scores
from danlu.generate.engine import Engine, complete
from danlu.generate.sample import Sampling
from generate.models import TOKENIZER, tiny, words

V = TOKENIZER.size
GREEDY = {"temperature": 0.0}


class Among:
    """A constraint: one of some words a place, then the end."""

    def __init__(self, *places):
        self.places = [list(place) for place in places]
        self.said = []

    @property
    def finished(self):
        return len(self.said) == len(self.places)

    def fill(self, row_bits):
        row_bits[:] = 0
        for word in self.places[len(self.said)]:
            row_bits.view("uint32")[word // 32] |= 1 << word % 32

    def accept(self, token):
        assert token in self.places[len(self.said)]
        self.said.append(token)


def events_of(engine, *requests):
    """Run requests, given as (prompt, settings, what else), to their ends; return each one's events."""
    got = [[] for _ in requests]
    for index, (prompt, settings, *more) in enumerate(requests):
        engine.add(index, prompt, Sampling(**settings), **(more[0] if more else {}))
    while engine.busy:
        for event in engine.step():
            got[event.index].append(event)
    return got


def tokens(events):
    return [event.token for event in events]


def fresh(slots=4, **keys):
    return Engine(tiny(), TOKENIZER, slots, **{"ends": ()} | keys)


@torch.inference_mode()
def logits_after(text):
    model = tiny()
    return model.logits(model(torch.tensor([text])).hidden[0, -1])


def test_a_constraint_confines_its_own_request_and_ends_it():
    free, bound = words(9, 12)
    allowed = [range(40, 90), [31], [32, 63, 64, V - 1], range(5, 300)]
    plain, held = events_of(
        fresh(),
        (free, {**GREEDY, "max_tokens": 8}),
        (bound, {**GREEDY, "max_tokens": 8}, {"constraint": Among(*allowed)}),
    )
    (alone,) = complete(tiny(), TOKENIZER, [free], Sampling(**GREEDY, max_tokens=8), ends=())
    assert tokens(plain) == alone.tokens
    text = list(bound)
    for event, place in zip(held, allowed):
        scores = logits_after(text)
        assert event.token == max(place, key=lambda word: scores[word])
        text.append(event.token)
    assert [event.finish for event in held] == [None, None, None, "stop"]
    assert held[-1].stopped is None and held[-1].text  # the last token is part of the answer


def test_many_constraints_of_all_kinds_hold_at_once():
    requests = [
        (
            prompt,
            {"seed": n, "temperature": 2.0},
            {"constraint": Among(*[range(n * 10, n * 10 + 9)] * (n + 1))},
        )
        for n, prompt in enumerate(words(5, 7, 9, 11, 4, 3))
    ]
    for n, got in enumerate(events_of(fresh(3), *requests)):
        assert len(got) == n + 1 and all(n * 10 <= token < n * 10 + 9 for token in tokens(got))


def test_a_constraint_that_leaves_nothing_ends_the_answer():
    (got,) = events_of(fresh(ends={7}), (words(5)[0], {"max_tokens": 5}, {"constraint": Among([50], [])}))
    assert tokens(got) == [50, 7] and got[-1].finish == "stop" and got[-1].text == ""


def test_scores_are_the_models_own_whatever_else_weighs_in():
    (prompt,) = words(9)
    settings = {
        "temperature": 1.7, "seed": 3, "max_tokens": 6, "presence_penalty": 2.0, "top_k": 50,
        "logit_bias": {77: 9.0},
    }  # fmt: skip
    got, none = events_of(fresh(), (prompt, settings, {"logprobs": 3}), (prompt, settings))
    assert tokens(got) == tokens(none) and {event.logprob for event in none} == {None}
    text = list(prompt)
    for event in got:
        expected = logits_after(text).log_softmax(-1)
        assert event.logprob == pytest.approx(float(expected[event.token]), abs=1e-4)
        best = expected.topk(3)
        assert [token for token, _ in event.top] == best.indices.tolist()
        assert [score for _, score in event.top] == pytest.approx(best.values.tolist(), abs=1e-4)
        text.append(event.token)


@pytest.mark.parametrize("size", [512, 5])
def test_scores_of_a_prompt_are_those_of_each_token_after_those_before(monkeypatch, size):
    monkeypatch.setattr(schedule, "CHUNK", size)
    monkeypatch.setattr(scores, "AT_ONCE", 3)
    (prompt,) = words(23)
    engine = fresh()
    events_of(engine, (prompt, {**GREEDY, "max_tokens": 1}))
    (got,) = events_of(engine, (prompt, {**GREEDY, "max_tokens": 2}, {"prompt_logprobs": 2}))
    told = got[0].prompt
    assert len(told) == 23 and told[0] is None and got[1].prompt == () and got[0].reused == 0
    for place in range(1, 23):
        expected = logits_after(prompt[:place]).log_softmax(-1)
        assert told[place].logprob == pytest.approx(float(expected[prompt[place]]), abs=1e-4)
        assert [token for token, _ in told[place].top] == expected.topk(2).indices.tolist()


def test_a_bias_demands_or_forbids_a_word_of_its_own_request():
    (prompt,) = words(6)
    (free,) = events_of(fresh(), (prompt, {**GREEDY, "max_tokens": 6}))
    usual = free[0].token
    other, demanded, forbidden = events_of(
        fresh(),
        (prompt, {**GREEDY, "max_tokens": 6}),
        (prompt, {**GREEDY, "max_tokens": 3, "logit_bias": {99: 100.0}}),
        (prompt, {**GREEDY, "max_tokens": 3, "logit_bias": {usual: -100.0, 5: 0.0}}),
    )
    assert tokens(other) == tokens(free)
    assert tokens(demanded) == [99] * 3
    assert usual not in tokens(forbidden)
    assert forbidden[0].token == int(logits_after(prompt).topk(2).indices[1])


def test_no_end_comes_before_the_least_length():
    (prompt,) = words(6)
    (free,) = events_of(fresh(), (prompt, {**GREEDY, "max_tokens": 12}))
    end = free[2].token
    first = tokens(free).index(end)
    short, kept, ignored, stop = events_of(
        fresh(ends={end}),
        (prompt, {**GREEDY, "max_tokens": 12}),
        (prompt, {**GREEDY, "max_tokens": 12, "min_tokens": first + 3}),
        (prompt, {**GREEDY, "max_tokens": 12, "ignore_eos": True}),
        (prompt, {**GREEDY, "max_tokens": 12, "ignore_eos": True, "stop_token_ids": (end,)}),
    )
    assert (tokens(short), short[-1].finish, short[-1].stopped) == (tokens(free)[: first + 1], "stop", None)
    assert end not in tokens(kept)[: first + 3] and len(kept) >= first + 3
    assert tokens(ignored) == tokens(free) and ignored[-1].finish == "length"
    assert (tokens(stop), stop[-1].finish, stop[-1].stopped) == (tokens(short), "stop", end)
    assert stop[-1].text == ""


def test_a_stop_string_counts_only_after_the_least_length_and_is_told():
    (prompt,) = words(6)
    settings = {"seed": 5, "max_tokens": 30}
    (free,) = events_of(fresh(), (prompt, settings))
    whole = "".join(event.text for event in free)
    word = whole[3:6]
    early, late = events_of(
        fresh(),
        (prompt, {**settings, "stop": (word,)}),
        (prompt, {**settings, "stop": (word,), "min_tokens": 30}),
    )
    assert "".join(event.text for event in early) == whole[: whole.index(word)]
    assert (early[-1].finish, early[-1].stopped) == ("stop", word)
    assert "".join(event.text for event in late) == whole and late[-1].finish == "length"


def test_control_tokens_are_shown_where_asked_for_but_never_the_end():
    start, end = TOKENIZER.token_id("<|im_start|>"), TOKENIZER.eos_id
    for control, text in ((True, "<|im_start|>"), (False, "")):
        (got,) = events_of(
            fresh(ends={end}),
            (words(5)[0], {}, {"constraint": Among([start], [end], [9]), "show_control": control}),
        )
        assert tokens(got) == [start, end] and "".join(event.text for event in got) == text


@pytest.mark.parametrize(
    "settings,more,word",
    [
        ({"logit_bias": {V: 1.0}}, {}, f"logit_bias: there is no token {V}"),
        ({"stop_token_ids": (V + 5,)}, {}, f"stop_token_ids: there is no token {V + 5}"),
        ({}, {"logprobs": 21}, "logprobs: is 21"),
        ({}, {"logprobs": -1}, "logprobs: is -1"),
        ({}, {"prompt_logprobs": 21}, "prompt_logprobs: is 21"),
    ],
)
def test_what_the_model_cannot_do_is_refused_at_once(settings, more, word):
    engine = fresh()
    with pytest.raises(UserError, match=word):
        engine.add(0, [5, 6], Sampling(**settings), **more)
    assert not engine.busy


def test_a_cancelled_request_is_heard_of_no_more_wherever_it_was():
    engine, prompts = fresh(2), words(60, 20, 9, 7)
    for index, prompt in enumerate(prompts):
        engine.add(index, prompt, Sampling(**GREEDY, max_tokens=9))
    engine.cancel(3)  # waiting
    seen = [event.index for event in engine.step()]
    engine.cancel(0)
    while engine.busy:
        seen += [event.index for event in engine.step()]
    assert seen.count(1) == seen.count(2) == 9 and 3 not in seen


def test_a_stop_string_that_begins_too_early_and_is_complete_in_time_ends_an_answer():
    (prompt,) = words(9)
    (told,) = events_of(fresh(), (prompt, {**GREEDY, "max_tokens": 8}))
    texts = [event.text for event in told]
    where = next(n for n in range(1, 7) if texts[n] and texts[n + 1])
    stop = texts[where][-1] + texts[where + 1][:1]
    assert stop not in "".join(texts[: where + 1])
    (cut,) = events_of(
        fresh(), (prompt, {**GREEDY, "max_tokens": 8, "stop": (stop,), "min_tokens": where + 1})
    )
    assert len(cut) == where + 2 and cut[-1].stopped == stop
    assert "".join(event.text for event in cut) == "".join(texts[: where + 1])[:-1]


def test_a_text_to_embed_may_fill_the_context_and_is_told_by_how_much_it_is_too_long():
    engine = fresh(max_len=32)
    assert engine.embed([list(range(3, 35))]).shape == (1, 64)
    with pytest.raises(UserError, match="33 tokens, 1 too many: the context holds 32\n"):
        engine.embed([list(range(3, 36))])


def test_the_filling_of_prompts_read_together_needs_no_places_that_a_model_has_not_learnt():
    model = tiny("plain", position="learned")
    system, long, short = words(64, 100, 120)
    engine = Engine(model, TOKENIZER, 3, ends=())
    events_of(engine, (system, {**GREEDY, "max_tokens": 1}))
    asked = [long, system + short[:60]]
    got = events_of(engine, *((prompt, {**GREEDY, "max_tokens": 3}) for prompt in asked))
    alone = complete(model, TOKENIZER, asked, Sampling(**GREEDY, max_tokens=3), slots=1, ends=())
    assert [tokens(events) for events in got] == [answer.tokens for answer in alone]
    assert got[1][0].reused == 64
