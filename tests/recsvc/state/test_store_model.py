"""The store against a model of plain dictionaries, under any sequence of calls."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from recsvc.errors import ConflictError, InvalidInputError, UserNotFoundError
from recsvc.settings import Settings
from recsvc.state.events import AppendResult, Event
from recsvc.state.merging import merged_event_id
from recsvc.state.store import StateStore
from tests.recsvc.redis_server import RedisServer

LIMIT = 4
VERSIONS = ("v1", "v2")

user_ids = st.sampled_from(["ada", "b}o{b", "ü:x", "ü"])
events = st.builds(
    Event,
    user_id=user_ids,
    item_id=st.text(min_size=1, max_size=3).filter(lambda text: text.isprintable()),
    event=st.none() | st.sampled_from(["click", "buy"]),
    value=st.none() | st.floats(-1e9, 1e9),
    timestamp_ms=st.integers(0, 5) | st.integers(-(2**53) + 1, 2**53 - 1),
    event_id=st.integers(0, 12).map(str),
    recommendation_id=st.none() | st.just("r"),
)
features = st.dictionaries(st.text(max_size=3), st.none() | st.integers(-5, 5), max_size=2)


@dataclass
class ModelUser:
    """What should be stored about a user."""

    seen: set[str] = field(default_factory=set)
    support: list[Event] = field(default_factory=list)
    features: dict[str, Any] | None = None
    states: dict[str, bytes] = field(default_factory=dict)
    revision: int = 0
    log: list[Event] = field(default_factory=list)
    """Every event, in the order of arrival."""

    def add(self, event: Event) -> bool:
        """Whether the event was new."""
        if event.event_id in self.seen:
            return False
        self.seen.add(event.event_id)
        self.log.append(event)
        self.support.append(event)
        self.support.sort(key=lambda e: e.timestamp_ms)  # stable: arrival breaks ties
        del self.support[:-LIMIT]
        self.states.clear()
        return True


class StoreMachine(RuleBasedStateMachine):
    """Calls the store and the model alike, and compares what they say."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        with self.server.client() as client:
            client.flushall()
        self.runner = asyncio.Runner()
        limits = Settings(partitions=2, max_events_per_user=LIMIT, redis_timeout_s=5.0)
        self.store = StateStore.open(self.server.url, limits)
        self.users: dict[str, ModelUser] = {}
        self.merged: dict[str, str] = {}

    def teardown(self) -> None:
        """Close what the example opened."""
        self.runner.run(self.store.close())
        self.runner.close()

    def user(self, user_id: str) -> ModelUser:
        """The model of a user, made where missing."""
        return self.users.setdefault(user_id, ModelUser())

    @rule(batch=st.lists(events, max_size=6))
    def append(self, batch: list[Event]) -> None:
        """Events of several users at once, repeats among them."""
        accepted = sum([self.user(e.user_id).add(e) for e in batch])
        result = self.runner.run(self.store.append(batch))
        assert result == AppendResult(accepted, len(batch) - accepted)

    @rule(user_id=user_ids, new=features)
    def put_features(self, user_id: str, new: dict[str, Any]) -> None:
        """Other features."""
        self.runner.run(self.store.put_user_features(user_id, new))
        self.user(user_id).features = new
        self.user(user_id).states.clear()

    @rule(
        user_id=user_ids,
        version=st.sampled_from(VERSIONS),
        state=st.binary(max_size=4),
        off_by=st.sampled_from([0, 0, 1, -1]),
    )
    def write_state(self, user_id: str, version: str, state: bytes, off_by: int) -> None:
        """A state at the user's revision, or at a wrong one."""
        revision = self.runner.run(self.store.read_user(user_id, version)).revision
        kept = self.runner.run(self.store.write_state(user_id, version, revision + off_by, state))
        assert kept == (off_by == 0)
        if kept:
            self.user(user_id).states[version] = state

    @rule(user_id=user_ids)
    def erase(self, user_id: str) -> None:
        """Nothing is left of a user."""
        self.runner.run(self.store.erase_user(user_id))
        assert self.runner.run(self.store.export_user(user_id)) is None
        self.users.pop(user_id, None)
        self.merged.pop(user_id, None)

    @rule(into=user_ids, source=user_ids)
    def merge(self, into: str, source: str) -> None:
        """Another's events and features come on top of a user's own."""
        moving = self.users.get(source, ModelUser())
        empty = not moving.log and moving.features is None
        known = self.merged.get(source)
        if into == source:
            expected: type[Exception] | None = InvalidInputError
        elif empty:
            expected = {None: UserNotFoundError, into: None}.get(known, ConflictError)
        else:
            expected = None if known in (None, into) else ConflictError
            expected = ConflictError if into in self.merged else expected
        if expected is not None:
            with pytest.raises(expected):
                self.runner.run(self.store.merge_users(into, source))
            return
        self.runner.run(self.store.merge_users(into, source))
        assert self.runner.run(self.store.export_user(source)) is None
        self.merged[source] = into
        self.users.pop(source, None)
        self.take_over(into, source, moving)

    def take_over(self, target: str, source: str, moving: ModelUser) -> None:
        """What a merge should do to the target."""
        if moving.features and moving.features.keys() - (self.user(target).features or {}).keys():
            self.user(target).features = {**moving.features, **(self.user(target).features or {})}
            self.user(target).states.clear()
        for one in moving.log:
            renamed = merged_event_id(source.encode(), one.event_id)
            self.user(target).add(replace(one, user_id=target, event_id=renamed))

    @invariant()
    def reads_agree(self) -> None:
        """Every user reads as the model has it, and the revision moves exactly with changes."""
        for user_id, model in self.users.items():
            for version in VERSIONS:
                user = self.runner.run(self.store.read_user(user_id, version))
                assert user.events == tuple(model.support)
                assert user.features == model.features
                assert user.state == model.states.get(version)
                assert user.revision >= model.revision
                assert (user.revision == 0) == (not model.seen and model.features is None)
                model.revision = user.revision


def test_the_store_agrees_with_the_model(redis_server: RedisServer) -> None:
    """After any sequence of calls the store holds what plain dictionaries hold."""
    machine = type("Machine", (StoreMachine,), {"server": redis_server})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
