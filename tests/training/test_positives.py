"""Positives: what a data set's rules make of its interactions."""

from pathlib import Path

from training.datasets import load
from training.tasks import positives


def test_events_of_weight_zero_are_no_evidence(tmp_path: Path) -> None:
    """Views that weigh 0 are left out, as the service leaves them out; purchases stay."""
    rows = ["anna,a,view,1", "anna,b,buy,2", "ben,a,view,1", "ben,b,buy,2", "ben,c,buy,3"]
    text = "\n".join(["user_id,item_id,event,timestamp", *rows])
    (tmp_path / "interactions.csv").write_text(text + "\n")
    (tmp_path / "dataset.toml").write_text("[interactions.event_weights]\nview = 0.0\nbuy = 2.0\n")
    histories = positives(load(tmp_path))
    assert [histories.items(u).tolist() for u in range(2)] == [[1], [1, 2]]
