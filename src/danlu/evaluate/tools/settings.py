"""How answers are to be chosen; the same for a server and for weights here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Settings:
    """What goes with every request."""

    temperature: float = 0.0
    max_tokens: int = 512
    seed: int = 0

    def as_body(self) -> dict[str, Any]:
        """Return it as OpenAI's fields, which are those of our sampling too."""
        return {"temperature": self.temperature, "max_tokens": self.max_tokens, "seed": self.seed}
