"""The protocols that `recsvc-train evaluate` knows, by name, and running some or all of them.

Knows nothing of what a protocol does. To add a protocol, add a line to `PROTOCOLS`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from training.errors import DataError, SettingError
from training.evaluate import Evaluation
from training.protocols.both_cold import BothColdProtocol
from training.protocols.cold_item import ColdItemProtocol
from training.protocols.cold_user import ColdUserProtocol
from training.protocols.over_time import TimeProtocol
from training.protocols.protocol import EvaluationProtocol, Request
from training.protocols.ratings import RatingsProtocol

ALL = "all"
PROTOCOLS: tuple[EvaluationProtocol, ...] = (
    ColdUserProtocol(),
    ColdItemProtocol(),
    BothColdProtocol(),
    TimeProtocol(),
    RatingsProtocol("ratings"),
    RatingsProtocol("ratings-new-items"),
)


@dataclass(frozen=True)
class Findings:
    """What the asked protocols found."""

    results: tuple[Evaluation, ...]
    skipped: dict[str, str]
    """Of `all`: protocols that the data set or the flags do not allow, and why."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"results": [r.to_json() for r in self.results], "skipped": self.skipped}


def find_protocols(name: str) -> tuple[EvaluationProtocol, ...]:
    """The protocol of this name, or all of them.

    Raises:
        SettingError: the name is unknown.
    """
    found = tuple(p for p in PROTOCOLS if name in (ALL, p.name))
    if not found:
        allowed = ", ".join([*(p.name for p in PROTOCOLS), ALL])
        raise SettingError(f"--protocol: no protocol {name!r}; there are {allowed}")
    return found


def requested_runs(protocols: Sequence[EvaluationProtocol], request: Request) -> int:
    """Methods times seeds over the protocols, for a progress bar."""
    return sum(len(_known(p, request)) for p in protocols) * len(request.seeds)


def run_protocols(protocols: Sequence[EvaluationProtocol], request: Request) -> Findings:
    """Run one protocol, or several of which some may be impossible.

    Raises:
        DataError: the data set lacks what the only protocol needs.
        SettingError: a method or a flag that no protocol knows; a wrong value.
    """
    if len(protocols) == 1:
        return Findings((_run_one(protocols[0], request),), {})
    return _run_all(protocols, request)


def _run_one(protocol: EvaluationProtocol, request: Request) -> Evaluation:
    """Run one protocol after checking that it knows every flag that was given."""
    unknown = [name for name in request.options if name not in protocol.options]
    if unknown:
        allowed = ", ".join(f"--{name}" for name in protocol.options) or "no flag of its own"
        raise SettingError(
            f"--{unknown[0]} says nothing to --protocol {protocol.name}, which takes {allowed}"
        )
    return protocol.run(request)


def _run_all(protocols: Sequence[EvaluationProtocol], request: Request) -> Findings:
    """Run protocols one after the other, each with the methods and flags that it knows."""
    for name in request.methods:
        if not any(name in p.methods for p in protocols):
            raise SettingError(f"--methods: no protocol has a method {name!r}")
    for flag in request.options:
        if not any(flag in p.options for p in protocols):
            raise SettingError(f"--{flag} says nothing to any protocol")
    results, skipped = [], {}
    for protocol in protocols:
        methods = _known(protocol, request)
        if not methods:
            skipped[protocol.name] = "it has none of the methods that were named"
            continue
        options = {k: v for k, v in request.options.items() if k in protocol.options}
        try:
            results.append(protocol.run(replace(request, methods=methods, options=options)))
        except DataError as exc:
            skipped[protocol.name] = str(exc)
    return Findings(tuple(results), skipped)


def _known(protocol: EvaluationProtocol, request: Request) -> list[str]:
    return [name for name in protocol.methods if not request.methods or name in request.methods]
