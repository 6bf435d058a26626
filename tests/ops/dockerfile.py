"""A Dockerfile as stages of instructions. Knows nothing of what they do."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Stage:
    """One FROM and what follows it."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)
    """(keyword, the rest of the line with continuations joined)."""

    def all(self, keyword: str) -> list[str]:
        """The arguments of every instruction of a kind."""
        return [rest for word, rest in self.instructions if word == keyword]

    def last(self, keyword: str) -> str:
        """The arguments of the instruction that counts, where a kind may be repeated."""
        return self.all(keyword)[-1]

    def last_list(self, keyword: str) -> list[str]:
        """The same, written as a JSON list: `["recsvc"]`."""
        words: list[str] = json.loads(self.last(keyword))
        return words

    def environment(self) -> dict[str, str]:
        """The variables that this stage sets."""
        pairs = [pair for rest in self.all("ENV") for pair in shlex.split(rest)]
        return dict(pair.split("=", 1) for pair in pairs)


def parse(path: Path) -> list[Stage]:
    """The stages of a Dockerfile, in order; the last one is built when none is named."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if not line.strip():
            continue
        keyword, rest = line.strip().split(maxsplit=1)
        if keyword == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(name, base))
        else:
            stages[-1].instructions.append((keyword, rest))
    return stages


def stages() -> dict[str, Stage]:
    """The stages of the product's Dockerfile by name."""
    return {stage.name: stage for stage in parse(ROOT / "Dockerfile")}
