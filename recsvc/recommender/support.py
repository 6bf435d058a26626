"""From evidence to a support: the rows of a catalogue that it is about, and their arrays.

Knows nothing of how a support is adapted to or scored.

Shape legend: S support rows.
"""

from collections.abc import Sequence

import numpy as np

from recsvc.adaptation import Evidence, Floats, Support
from recsvc.catalogue import Catalogue

Known = tuple[int, Evidence]
"""A catalogue row and what it says about the user."""


def known_rows(catalogue: Catalogue, evidence: Sequence[Evidence]) -> list[Known]:
    """Evidence on items that the catalogue knows, with their rows."""
    located = [(catalogue.evidence_row(e.item_id), e) for e in evidence]
    return [(row, e) for row, e in located if row is not None]


def gather(catalogue: Catalogue, known: Sequence[Known]) -> tuple[list[int], Support]:
    """Catalogue rows of a support, and its arrays."""
    rows = [row for row, _ in known]
    support = Support(
        catalogue.inner_vectors(rows),
        catalogue.biases(rows),
        np.asarray([e.label for _, e in known], dtype=np.float32),
        np.asarray([e.weight for _, e in known], dtype=np.float32),
    )
    return rows, support


def positive_weights(support: Support) -> Floats:
    """Weights of the positive rows, (S,); 0 for the negative ones."""
    return np.where(support.label_S == 1.0, support.weight_S, np.float32(0))
