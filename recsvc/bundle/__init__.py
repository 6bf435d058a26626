"""Bundles at serving time: read, verify, replay, open. Knows nothing of users, Redis or HTTP."""

from recsvc.bundle.graphs import Device, Graphs
from recsvc.bundle.load import Bundle, load_bundle

__all__ = ["Bundle", "Device", "Graphs", "load_bundle"]
