"""Turns of a conversation, and the prompt they make.

    talk = Conversation(tokenizer, max_len=2048, system="Be brief.")
    ids = talk.ask("What is steel?")     the prompt up to where the answer begins
    talk.answered("An alloy of iron.")   the next prompt holds it

A prompt that would leave too little room for an answer loses its oldest exchanges first, never the
system message, never the question.
"""

from __future__ import annotations

from danlu.tokenizer.chat import encode_chat
from danlu.tokenizer.tokenizer import Tokenizer

Message = dict[str, str]


class Conversation:
    """What was said so far, as far as it is remembered."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_len: int,
        system: str = "",
        history: int | None = None,
        think: bool | None = None,
        room: int = 1,
    ) -> None:
        self.tokenizer = tokenizer
        self.max_len = max_len
        self.system = system
        self.history = history
        """Exchanges remembered; None keeps all that fit."""
        self.think = think
        self.room = min(room, max_len // 2)
        self.exchanges: list[tuple[str, str]] = []
        self.question = ""

    def ask(self, question: str) -> list[int]:
        """Return the tokens of a prompt that ends with this question."""
        self.question = question
        if self.history is not None:
            self.exchanges = self.exchanges[len(self.exchanges) - min(self.history, len(self.exchanges)) :]
        ids = self._encode()
        while self.exchanges and len(ids) > self.max_len - self.room:
            self.exchanges.pop(0)
            ids = self._encode()
        return ids

    def answered(self, text: str) -> None:
        """Remember the answer to the question asked last."""
        self.exchanges.append((self.question, text))

    def forget(self) -> None:
        """Begin anew; the system message stays."""
        self.exchanges.clear()

    def messages(self) -> list[Message]:
        """Return everything the next prompt says, the question last."""
        turns = [{"role": "system", "content": self.system}] if self.system else []
        for question, answer in self.exchanges:
            turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return [*turns, {"role": "user", "content": self.question}]

    def _encode(self) -> list[int]:
        messages = self.messages()
        return encode_chat(
            self.tokenizer, messages, add_generation_prompt=True, enable_thinking=self.think
        ).ids
