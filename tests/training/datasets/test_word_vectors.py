"""Pre-trained word vectors, fitted to texts."""

import importlib.util

import numpy as np
import polars as pl
import pytest

from recsvc.contract.words import START
from training.datasets import ColumnConfig, encode, fit_schema
from training.datasets.dataset import ColumnKind
from training.datasets.word_vectors import DIMS, pretrained
from training.errors import DataError

WORDS = ColumnConfig(kind="text", encoder="words")
BOTH = ColumnConfig(kind="text", encoder="both")
SEA = ["ship", "ocean", "sailor", "captain", "island", "harbor", "whale", "storm", "boat", "fish"]
LAW = ["court", "judge", "lawyer", "trial", "police", "prison", "crime", "jury", "evidence", "law"]


def titles(rng: np.random.Generator, words: list[str], n: int) -> list[str]:
    return [" ".join(rng.choice(words, 3, replace=False)) for _ in range(n)]


def test_the_table_knows_whole_words_in_lower_case() -> None:
    """Thousands of words, names among them, each of length 1; no single Latin letter."""
    words = pretrained()
    assert words.split("dragon") == [words.pieces.index(START + "dragon")]
    assert words.split("paris") == [words.pieces.index(START + "paris")]
    assert START + "Paris" not in words.pieces
    assert not {START + "a", "a"} & set(words.pieces)
    np.testing.assert_allclose(np.linalg.norm(words.vectors_PK, axis=1), 1, rtol=1e-4)


def test_words_that_training_never_saw_say_what_they_mean() -> None:
    """New words of the sea are near texts of the sea, though no token is shared."""
    rng = np.random.default_rng(0)
    seen = titles(rng, SEA[:6], 40) + titles(rng, LAW[:6], 40)
    schema = fit_schema(pl.DataFrame({"t": seen}), {"t": WORDS})
    rows = schema.encode([{"t": t} for t in [*seen, *titles(rng, SEA[6:], 5)]])[:, 2:]
    likeness = rows[80:] @ rows[:80].T
    assert likeness[:, :40].mean() > 0.3 > -0.3 > likeness[:, 40:].mean()
    assert schema.columns[0].width <= DIMS


def test_the_matrix_is_what_the_service_encodes() -> None:
    """Bit for bit, with repeated, missing and unknown texts, and rows beyond the frame."""
    rng = np.random.default_rng(1)
    values = [*titles(rng, SEA, 30), *titles(rng, LAW, 30), None, "", "電影", "🎉", "qqzzqq"]
    frame = pl.DataFrame({"a": values, "b": values[::-1], "c": values})
    kinds = {"a": BOTH, "b": WORDS, "c": ColumnConfig(kind="text")}
    schema = fit_schema(frame, kinds)
    expected = schema.encode([*frame.to_dicts(), {}])
    np.testing.assert_array_equal(encode(frame, schema, len(frame) + 1).toarray(), expected)


def test_held_out_texts_leave_no_trace() -> None:
    """Centre, directions and tokens come from the allowed rows alone."""
    rng = np.random.default_rng(2)
    known = titles(rng, SEA, 20)
    rows = np.arange(25) < 20
    for others in (titles(rng, LAW, 5), [None] * 5):
        schema = fit_schema(pl.DataFrame({"t": [*known, *others]}), {"t": BOTH}, rows)
        alone = fit_schema(pl.DataFrame({"t": known}), {"t": BOTH})
        assert schema.columns == alone.columns
        assert schema.words is not None
        assert alone.words is not None
        np.testing.assert_array_equal(schema.words.vectors_PK, alone.words.vectors_PK)


@pytest.mark.parametrize("values", [["qqzzqq"], ["ship"], ["ship", "ship"], ["🎉", "🎊"]])
def test_texts_that_do_not_differ_take_no_position(values: list[str]) -> None:
    """One text, or none with a known word, has no direction in which it differs."""
    schema = fit_schema(pl.DataFrame({"t": values}), {"t": WORDS})
    assert schema.columns == ()
    assert schema.words is None


@pytest.mark.parametrize("kind", ["text", "categorical"])
def test_the_table_is_read_only_when_asked_for(
    kind: ColumnKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the package, data sets that do not ask for word vectors train as ever."""
    pretrained.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    frame = pl.DataFrame({"t": ["the ship"] * 3})
    assert fit_schema(frame, {"t": ColumnConfig(kind=kind)}).names == ("t",)
    with pytest.raises(DataError, match=r"wordllama.*recsvc\[training\]"):
        fit_schema(frame, {"t": BOTH})
