"""Names of keys: one hash slot for all of a user's, never the same for two users."""

from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from recsvc.state.keys import encode_id, log_key, partition_of, user_keys

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(user_id=ids, partitions=st.integers(1, 16_384))
def test_all_keys_of_a_user_are_in_the_slot_of_the_log(user_id: str, partitions: int) -> None:
    """Whatever characters an id holds, one script may touch all of its keys in a cluster."""
    user = encode_id("user_id", user_id)
    keys = user_keys(user, partitions)
    assert keys.log == log_key(partition_of(user, partitions))
    assert {key_slot(key) for key in keys.own} == {key_slot(keys.log)}


@given(first=ids, second=ids)
def test_two_users_share_no_key(first: str, second: str) -> None:
    """No id can be chosen so that its keys are another's, or the log."""
    keys = [user_keys(user.encode(), 1) for user in {first, second}]
    everything = [key for k in keys for key in k.own] + [log_key(0)]
    assert len(set(everything)) == len(everything)


def test_users_spread_over_the_partitions() -> None:
    """A thousand ids fill eight partitions about evenly."""
    counts = [0] * 8
    for n in range(1_000):
        counts[partition_of(b"user-%d" % n, 8)] += 1
    assert min(counts) > 80


def test_the_partition_of_a_user_never_changes() -> None:
    """Known answers: data written by one version are found by every later one."""
    users = ["ada", "bob", "用户"]
    assert [partition_of(u.encode(), 256) for u in users] == [39, 146, 94]
