"""Word vectors: how words fall into pieces, what texts mean, and what a text column encodes to."""

import numpy as np
import pytest
from numpy.typing import NDArray

from recsvc.contract.errors import SchemaError
from recsvc.contract.schema import Column, FeatureSchema
from recsvc.contract.words import START, WordVectors

TABLE: dict[str, tuple[float, float]] = {
    START + "dragon": (1, 0),
    START + "god": (0, 2),
    START + "father": (9, 9),
    "father": (2, 0),
    "影": (0, 4),
}
WORDS = WordVectors(tuple(TABLE), np.array(list(TABLE.values()), dtype=np.float16))
PLOT = Column(
    name="plot",
    kind="text",
    vocabulary=("dragon", "other"),
    idf=(1.0, 1.0),
    centre=(0.0, 0.0),
)


def mean(text: str) -> list[float]:
    return [float(v) for v in WORDS.means([text.split()])[0]]


@pytest.mark.parametrize(
    ("word", "pieces"),
    [
        ("dragon", [START + "dragon"]),
        ("godfather", [START + "god", "father"]),
        ("xfather", ["father"]),
        ("影", ["影"]),
        ("電影影", ["影", "影"]),
        ("zzz", []),
        ("z" * 100_000, []),
        ("", []),
    ],
)
def test_a_word_falls_into_the_longest_pieces(word: str, pieces: list[str]) -> None:
    """From the left; a piece that begins words is found at the start alone; the rest is skipped."""
    assert [WORDS.pieces[row] for row in WORDS.split(word)] == pieces


def test_a_text_is_the_mean_of_its_words() -> None:
    """A word is the mean of its pieces, unknown words take no part, and nothing known is zeros."""
    assert mean("dragon") == [1, 0]
    assert mean("godfather") == [1, 1]
    assert mean("godfather dragon zzz") == [1, 0.5]
    assert mean("zzz") == mean("") == [0, 0]


def test_many_texts_equal_one_at_a_time() -> None:
    """Bit for bit, across the blocks in which texts are read."""
    rng = np.random.default_rng(0)
    chosen = [rng.choice(["dragon", "godfather", "影", "zzz"], size=n % 7) for n in range(1300)]
    texts = [[str(word) for word in words] for words in chosen]
    singles = np.concatenate([WORDS.means([text]) for text in texts])
    np.testing.assert_array_equal(WORDS.means(texts), singles)
    assert WORDS.means([]).shape == (0, 2)


def encoded(column: Column, *values: object) -> NDArray[np.float32]:
    schema = FeatureSchema(columns=(column,), words=WORDS)
    return schema.encode([{column.name: value} for value in values])


def test_a_column_of_both_encoders_has_tokens_first() -> None:
    """Intercept, flag, tokens, then the direction of the mean word vector, of length 1."""
    rows = encoded(PLOT, "Dragon dragon", "The Godfather")
    half = np.sqrt(np.float32(0.5))
    np.testing.assert_allclose(rows, [[1, 1, 1, 0, 1, 0], [1, 1, 0, 0, half, half]], rtol=1e-6)


def test_vectors_are_seen_from_the_columns_centre() -> None:
    """What all texts of the column have in common is taken away."""
    column = Column(name="plot", kind="text", centre=(1.0, 1.0))
    rows = encoded(column, "dragon", "godfather")
    np.testing.assert_array_equal(rows, [[1, 1, 0, -1], [1, 0, 0, 0]])


def test_texts_without_a_known_word_are_missing() -> None:
    """None, NaN, nothing, emoji, and words of no piece: the intercept alone."""
    rows = encoded(PLOT, None, float("nan"), "", "🎉🎉", "zzz")
    np.testing.assert_array_equal(rows, [[1, 0, 0, 0, 0, 0]] * 5)


def test_other_scripts_have_meaning_and_long_texts_an_end() -> None:
    """A letter of another script may be a piece; of a very long text the beginning is read."""
    assert encoded(PLOT, "電影")[0, -1] == 1
    long = encoded(PLOT, "dragon " + "zzz " * 1_000_000 + "godfather")
    np.testing.assert_array_equal(long, encoded(PLOT, "dragon"))


@pytest.mark.parametrize(
    "left_out", [{}, {"centre": ()}, {"vocabulary": (), "idf": ()}], ids=["both", "tokens", "words"]
)
def test_what_is_no_text_is_refused(left_out: dict[str, object]) -> None:
    """However texts are encoded, a number is none."""
    with pytest.raises(SchemaError, match="'plot': 3 is not text"):
        encoded(PLOT.model_copy(update=left_out), 3)


def test_the_table_is_no_part_of_the_schemas_json() -> None:
    """It lies in a file of its own; the schema says that it needs it."""
    schema = FeatureSchema(columns=(PLOT,), words=WORDS)
    again = FeatureSchema.model_validate_json(schema.model_dump_json())
    assert again.words is None
    assert again.columns == schema.columns
