"""How much goes to Redis at once. Knows nothing of what it is."""

from collections.abc import Iterator, Sequence

from recsvc.state.connection import ScriptCall

EVENTS_A_CALL = 500
_USERS_A_BATCH = 100
_ARGUMENTS_A_BATCH = 4 * EVENTS_A_CALL


def batches(calls: Sequence[ScriptCall]) -> Iterator[list[ScriptCall]]:
    """Calls that together hold a bounded number of users and of events."""
    batch: list[ScriptCall] = []
    size = 0
    for call in calls:
        if batch and (len(batch) >= _USERS_A_BATCH or size + len(call[1]) > _ARGUMENTS_A_BATCH):
            yield batch
            batch, size = [], 0
        batch.append(call)
        size += len(call[1])
    if batch:
        yield batch
