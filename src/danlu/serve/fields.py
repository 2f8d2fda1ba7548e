"""What requests have in common: how strictly they are read, and the settings of an answer.

Three kinds of names beside those that are heeded:

    ignored     what changes no answer (`user`, `store`, ...): taken and dropped
    refused     what would change the answer and is not done here (`suffix`, `best_of`, ...), unless its value
                asks for nothing; the message says what to use instead
    unknown     a mistake in writing, mostly: refused with the nearest name

Only the first thing wrong with a request is told, so only the first is looked for: a million wrong items
would be a million errors in memory.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MOST_CHOICES = 128
MOST_STOPS = 16
MOST_BIASES = 1024
MOST_LOGPROBS = 20
TOKEN_LIMIT = 2**31 - 1

IGNORED = (
    "user", "store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention", "verbosity", "modalities", "prediction", "request_id", "session_id", "priority",
    "cache_salt", "spaces_between_special_tokens", "kv_transfer_params", "ec_transfer_params",
    "stream_interval", "watermarking", "prompt_cache_options", "keep_alive", "timeout", "usage", "provider",
    "transforms", "extra_headers", "extra_query", "chat_id", "conversation_id",
)  # fmt: skip
NOTHING: tuple[Any, ...] = (None, False, [], {}, "")
INSTEAD = {
    "suffix": "text cannot be filled in; send a prompt to be continued",
    "best_of": "ask for `n` answers and choose one",
    "functions": "use `tools`",
    "function_call": "use `tool_choice`",
    "audio": "this model reads and writes text",
    "web_search_options": "give the model a tool that searches",
    "moderation": "moderate what comes and goes yourself",
    "extra_body": "what it holds stands beside the other parameters",
    "thinking": "use `enable_thinking`",
    "thinking_budget": "use `max_tokens`, or `enable_thinking`: false",
    "reasoning": "use `reasoning_effort`",
    "options": "what it holds stands beside the other parameters",
    "use_beam_search": "sample, or take temperature 0",
    "length_penalty": "it belongs to beam search, which is not done here",
    "early_stopping": "it belongs to beam search, which is not done here",
    "guided_json": "use `response_format`, or `structured_outputs`",
    "guided_regex": "use `structured_outputs`",
    "guided_choice": "use `structured_outputs`",
    "guided_grammar": "use `structured_outputs`",
    "chat_template": "the template is that of the model; put another chat_template.jinja beside it",
    "documents": "put the documents into a message, or into `chat_template_kwargs`",
    "bad_words": "give their tokens a `logit_bias` of -100",
    "allowed_token_ids": "use `structured_outputs`",
    "logprob_token_ids": "use `top_logprobs`",
    "prompt_logprobs": "use /v1/completions with `echo` and `logprobs`",
    "truncate_prompt_tokens": "send a shorter prompt",
    "truncation_side": "send a shorter prompt",
    "prompt_embeds": "send text or tokens",
    "mm_processor_kwargs": "this model reads text alone",
    "media_io_kwargs": "this model reads text alone",
    "mm_payload": "this model reads text alone",
    "return_mm_kwargs": "this model reads text alone",
    "thinking_token_budget": "use `max_tokens`, or `enable_thinking`: false",
    "repetition_detection": "use `repetition_penalty`",
    "vllm_xargs": "there are no extensions here",
    "logits_processors": "there are no extensions here",
    "logit_processors": "there are no extensions here",
    "return_prompt_text": "ask /tokenize",
    "return_token_offsets": "ask /tokenize",
    "return_tokens_as_token_ids": "use `return_token_ids`",
    "echo": "it belongs to /v1/completions",
    "add_special_tokens": "the chat template writes them",
}
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "length_penalty": (1.0,),
    "add_special_tokens": (True,),
}
WHOLE = frozenset(
    (
        "top_k", "seed", "n", "min_tokens", "max_tokens", "max_completion_tokens", "logprobs", "top_logprobs",
        "dimensions",
    )
)  # fmt: skip
"""Whole numbers, which some clients write as 4.0."""

Text = Annotated[str, Field(min_length=1)]
Id = Annotated[int, Field(ge=0, le=TOKEN_LIMIT)]


def _names(schema: dict[str, Any]) -> None:
    for name in IGNORED:
        schema["properties"].setdefault(name, {"description": "Taken and ignored."})


class Body(BaseModel):
    """One JSON object that is a request."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        json_schema_extra=_names,
        allow_inf_nan=False,
    )
    refused: ClassVar[frozenset[str]] = frozenset(INSTEAD)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        kept = {}
        for name, value in given.items():
            if name in cls.model_fields:
                whole = name in WHOLE and isinstance(value, float) and value.is_integer()
                kept[name] = int(value) if whole else value
            elif name in INSTEAD:
                if not any(value is none or value == none for none in (*NOTHING, *NEUTRAL.get(name, ()))):
                    raise ValueError(f"{name}: is not supported; {INSTEAD[name]}")
            elif name not in IGNORED:
                kept[name] = value
        return _sparing(kept, cls.model_fields)


def _sparing(given: dict[str, Any], known: Collection[str | None]) -> dict[str, Any]:
    """Return an object without its unknown names but the first."""
    unknown = next((name for name in given if name not in known), None)
    return {name: value for name, value in given.items() if name in known or name == unknown}


class Inner(BaseModel):
    """An object inside a request that has no other names than these."""

    model_config = ConfigDict(
        extra="forbid", strict=True, use_attribute_docstrings=True, populate_by_name=True
    )

    @model_validator(mode="before")
    @classmethod
    def _one_unknown(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return _sparing(given, {*cls.model_fields, *(field.alias for field in cls.model_fields.values())})


class StreamOptions(Inner):
    """What a stream tells beside the answer."""

    include_usage: bool | None = None
    """A last chunk says how many tokens were read and written."""
    continuous_usage_stats: bool | None = None
    """Every chunk says it."""
    include_obfuscation: bool | None = None
    """Taken and ignored."""


class JsonSchema(Inner):
    """A schema that an answer must satisfy."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Inner):
    """Text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _whole(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError('json_schema is missing; give {"name": "...", "schema": {...}}')
        return self


class StructuredOutputs(Inner):
    """The same in vLLM's words."""

    json_: dict[str, Any] | str | None = Field(default=None, alias="json")
    json_object: bool | None = None

    @model_validator(mode="after")
    def _one(self) -> StructuredOutputs:
        if (self.json_ is None) is not bool(self.json_object):
            raise ValueError("give either a schema as json, or json_object: true")
        return self


class Settings(Body):
    """How an answer is chosen and when it ends; each is explained in `danlu chat --help`."""

    model: str | None = None
    """A name /v1/models lists; without it, the first."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=TOKEN_LIMIT)] | None = None
    """0 or -1 keeps all."""
    min_p: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0.0, le=2.0)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2.0, le=2.0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2.0, le=2.0)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100.0, le=100.0)]] | None = Field(
        default=None, max_length=MOST_BIASES
    )
    """Token ids, as text, and what is added to their logits."""
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    stop: Text | Annotated[list[Text], Field(fail_fast=True, max_length=MOST_STOPS)] | None = None
    stop_token_ids: Annotated[list[Id], Field(fail_fast=True, max_length=128)] | None = None
    include_stop_str_in_output: bool | None = None
    min_tokens: Annotated[int, Field(ge=0, le=TOKEN_LIMIT)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=TOKEN_LIMIT)] | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    """False shows control tokens in the text."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    return_token_ids: bool | None = None

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _few(cls, given: Any) -> Any:
        if isinstance(given, dict) and len(given) > MOST_BIASES:
            raise ValueError(f"found {len(given)} tokens; give at most {MOST_BIASES}")
        return given

    @model_validator(mode="after")
    def _together(self) -> Settings:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: there is no stream; set `stream` to true, or leave them out")
        if self.structured_outputs and self.response_format and self.response_format.type != "text":
            raise ValueError("structured_outputs: `response_format` says it already; keep one of the two")
        return self
