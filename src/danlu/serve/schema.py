"""The bodies of requests, one class an endpoint; they are what /openapi.json shows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    field_validator,
    model_validator,
)

from danlu.serve.fields import MOST_LOGPROBS, Body, Id, Settings, Text

ROLES = Literal["system", "developer", "user", "assistant", "tool"]
EFFORTS = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
# Text or token ids, one or several.
Texts = (
    str
    | Annotated[list[str], Field(fail_fast=True, min_length=1, max_length=2048)]
    | Annotated[list[Id], Field(fail_fast=True, min_length=1)]
    | Annotated[
        list[Annotated[list[Id], Field(fail_fast=True, min_length=1)]],
        Field(fail_fast=True, min_length=1, max_length=2048),
    ]
)


class Part(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(extra="ignore", strict=True)
    type: Literal["text"]
    text: str

    @field_validator("type", mode="before")
    @classmethod
    def _text(cls, given: Any) -> Any:
        if isinstance(given, str) and given != "text":
            raise ValueError(f"found {given[:40]!r}; this model reads text alone, send parts of type 'text'")
        return given


class CalledFunction(BaseModel):
    """The name and the arguments of a call; arguments are JSON text, or an object."""

    model_config = ConfigDict(extra="ignore", strict=True)
    name: Text
    arguments: str | dict[str, Any] | None = None


class ToolCall(BaseModel):
    """A call the assistant made."""

    model_config = ConfigDict(extra="ignore", strict=True)
    id: str | None = None
    type: Literal["function"] | None = None
    function: CalledFunction


class Message(BaseModel):
    """One message; other keys that clients send back with an answer are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)
    role: ROLES
    content: str | Annotated[list[Part], Field(fail_fast=True)] | None = None
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True)] | None = None
    tool_call_id: str | None = None


class Function(BaseModel):
    """What a tool is called, does and takes."""

    model_config = ConfigDict(extra="allow", strict=True)
    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:/-]+$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(BaseModel):
    """A function the model may call. It is shown to the model as it was sent, key for key."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: Literal["function"]
    function: Function
    _given: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep(cls, given: Any, handler: Any) -> Tool:
        tool: Tool = handler(given)
        tool._given = given if isinstance(given, dict) else tool.model_dump(exclude_unset=True)
        return tool

    @property
    def given(self) -> dict[str, Any]:
        """Return the tool as it was sent."""
        return self._given


class Named(BaseModel):
    """The name of a tool."""

    model_config = ConfigDict(extra="ignore", strict=True)
    name: Text


class NamedTool(BaseModel):
    """The one tool that must be called."""

    model_config = ConfigDict(extra="ignore", strict=True)
    type: Literal["function"]
    function: Named


class Asking(BaseModel):
    """What of a request the chat template sees."""

    messages: Annotated[list[Message], Field(fail_fast=True, min_length=1)]
    tools: Annotated[list[Tool], Field(fail_fast=True)] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    """Go on with the last message, an assistant's, rather than begin one."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Variables of the template, such as enable_thinking."""
    enable_thinking: bool | None = None
    reasoning_effort: EFFORTS | None = None

    @property
    def shown(self) -> list[Tool]:
        """Return the tools that the model is told of."""
        return self.tools or []

    @model_validator(mode="after")
    def _one_way(self) -> Asking:
        if self.continue_final_message and self.add_generation_prompt:
            raise ValueError(
                "continue_final_message: a message is gone on with or begun; unset add_generation_prompt"
            )
        return self


class ChatRequest(Settings, Asking):
    """POST /v1/chat/completions."""

    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Wins over `max_tokens`, its older name."""
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    include_reasoning: bool | None = None

    @property
    def shown(self) -> list[Tool]:
        """Return the tools that the model is told of: one that may call none would call it in plain text."""
        return [] if self.tool_choice == "none" else self.tools or []

    @model_validator(mode="after")
    def _fits(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: needs `logprobs`: true; set it")
        chosen = self.tool_choice
        if not self.tools and chosen not in (None, "none", "auto"):
            raise ValueError("tool_choice: there are no tools to choose from; send `tools`")
        if isinstance(chosen, NamedTool):
            names = [tool.function.name for tool in self.tools or []]
            if chosen.function.name not in names:
                raise ValueError(
                    f"tool_choice: there is no tool {chosen.function.name[:64]!r}; one of: {', '.join(names)}"
                )
        names = [tool.function.name for tool in self.tools or []]
        if len(set(names)) < len(names):
            raise ValueError("tools: two have the same name; names must differ")
        return self


class CompletionRequest(Settings):
    """POST /v1/completions."""

    prompt: Texts
    """Text or token ids, one or several. Control tokens written in a text are control tokens."""
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    add_special_tokens: bool | None = None
    """False leaves out the token every text begins with."""


class EmbeddingRequest(Body):
    """POST /v1/embeddings."""

    model: str | None = None
    input: Texts
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Keep the first so many numbers, brought to length 1 again."""


class TokenizeText(Body):
    """POST /tokenize with a text."""

    model: str | None = None
    prompt: str
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class TokenizeChat(Body, Asking):
    """POST /tokenize with a chat."""

    model: str | None = None
    return_token_strs: bool | None = None


def _which(given: Any) -> str:
    return "chat" if isinstance(given, dict) and "messages" in given else "text"


TokenizeRequest = Annotated[
    Annotated[TokenizeText, Tag("text")] | Annotated[TokenizeChat, Tag("chat")], Discriminator(_which)
]


class DetokenizeRequest(Body):
    """POST /detokenize."""

    model: str | None = None
    tokens: Annotated[list[Id], Field(fail_fast=True)]


class CallRequest(Body):
    """POST /tools/call."""

    name: Text
    arguments: dict[str, Any] | str | None = None
    box: str | None = None
    """Which of several tools of that name; see GET /tools."""
