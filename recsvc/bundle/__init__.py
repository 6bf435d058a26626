"""Bundles at serving time: read, verify, replay, open. Knows nothing of users, Redis or HTTP."""

from recsvc.bundle.graphs import Device, Graphs
from recsvc.bundle.load import Bundle, SampleUsers, load_bundle

__all__ = ["Bundle", "Device", "Graphs", "SampleUsers", "load_bundle"]
