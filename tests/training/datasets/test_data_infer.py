"""What kind a feature column is taken for."""

import polars as pl
import pytest

from training.datasets.infer import guess_positive, infer_kind, title_column, typed_features

N = 200
WORDS = ["old", "river", "far", "garden", "machine", "silent", "winter", "signal", "end", "sea"]
TITLES = [f"The {WORDS[i % 10]} {WORDS[i % 7]} of {WORDS[i % 9]} {i}" for i in range(N)]
GENRES = ["Drama|Comedy", "Drama", "Action|Drama|War", "Comedy"] * (N // 4)

KINDS = [
    ("genres", GENRES, "multi-categorical"),
    ("tags", [g.replace("|", ", ") for g in GENRES], "multi-categorical"),
    (
        "tags",
        ["red, blue", "blue, green", "red, green", "blue, red"] * (N // 4),
        "multi-categorical",
    ),
    ("gender", ["F", "M"] * (N // 2), "categorical"),
    ("occupation", [f"job {i % 21}" for i in range(N)], "categorical"),
    ("title", TITLES, "text"),
    ("title", [f"{t}, The" if i % 5 == 0 else t for i, t in enumerate(TITLES)], "text"),
    ("plot", [f"{t}, and {t}, who met {t}" for t in TITLES], "text"),
    (
        "shelf",
        [f"Books > Fiction > For young readers > Part {i % 9}" for i in range(N)],
        "categorical",
    ),
    ("age", [str(18 + i % 60) for i in range(N)], "numeric"),
    ("age_group", [str(i % 7) for i in range(N)], "categorical"),
    ("price", [f"{i}.5" for i in range(N)], "numeric"),
    ("zip", [f"{i % 60 + 10000}" for i in range(N)], "categorical"),
    ("sku", [f"0{i % 60}" for i in range(N)], "categorical"),
    ("seen", [f"2020-01-{1 + i % 28:02d}" for i in range(N)], "datetime"),
    ("seen", [f"2020-01-01T00:{i % 60:02d}:00Z" for i in range(N)], "datetime"),
    ("url", [f"https://example.org/{i}" for i in range(N)], "ignore"),
    ("hash", [f"x{i * 7919:06x}" for i in range(N)], "ignore"),
    ("index", [str(i + 1) for i in range(N)], "ignore"),
    ("constant", ["x"] * N, "ignore"),
    ("empty", ["", "NA", "NaN", "null"] * (N // 4), "ignore"),
    ("adult", ["true", "False"] * (N // 2), "categorical"),
]


@pytest.mark.parametrize(("name", "values", "kind"), KINDS)
def test_kinds_of_text_columns(name: str, values: list[str], kind: str) -> None:
    """A column of a CSV file is taken for what its values look like."""
    typed = typed_features(pl.DataFrame({name: values}), is_text=True)
    config, why = infer_kind(typed[name])
    assert (config.kind, bool(why)) == (kind, True)


@pytest.mark.parametrize(("repeats", "encoder"), [(1, "tokens"), (5, "words")])
def test_long_texts_are_read_by_word_vectors(repeats: int, encoder: str) -> None:
    """A plot of 20 words or more; a title by its tokens."""
    config, why = infer_kind(pl.Series("t", [" and ".join([t] * repeats) for t in TITLES]))
    assert (config.kind, config.encoder) == ("text", encoder)
    assert ("word vectors" in why) == (encoder == "words")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pl.Series([["a", "b"], ["b"], None]), "multi-categorical"),
        (pl.Series([[1, 2], [2], [3]]), "multi-categorical"),
        (pl.Series([[0.1, 0.2], [0.3, 0.4]]), "ignore"),
        (pl.Series([True, False, None]), "categorical"),
        (pl.Series([1.5, float("nan"), 2.5]), "numeric"),
        (pl.Series([1.0, 2.0, None]), "categorical"),
        (pl.Series(["2020-01-01", "2021-01-01"]).str.to_date(), "datetime"),
        (pl.Series(["2020-01-01", "2021-01-01"]).str.to_datetime(), "datetime"),
        (pl.Series(["x", "y", "x"], dtype=pl.Categorical), "categorical"),
        (pl.Series([b"x", b"y"]), "ignore"),
    ],
)
def test_kinds_of_typed_columns(values: pl.Series, kind: str) -> None:
    """A column of a Parquet file is taken for what its type says."""
    typed = typed_features(values.to_frame("c"), is_text=False)
    assert infer_kind(typed["c"])[0].kind == kind


def test_values_of_text_columns_get_their_type() -> None:
    """Whole numbers, numbers, truth values and missing ones are told apart; codes stay text."""
    frame = pl.DataFrame(
        {
            "whole": ["1", "2", ""],
            "number": ["1", "2.5", "NaN"],
            "code": ["01", "2", "3"],
            "truth": ["true", "False", "NA"],
            "text": [" x ", "null", "1"],
        }
    )
    typed = typed_features(frame, is_text=True)
    assert typed.rows() == [
        (1, 1.0, "01", True, "x"),
        (2, 2.5, "2", False, None),
        (None, None, "3", None, "1"),
    ]


def test_not_finite_numbers_are_missing() -> None:
    """NaN and infinity in a feature column are missing values."""
    frame = pl.DataFrame({"c": [1.0, float("nan"), float("inf"), None]})
    assert typed_features(frame, is_text=False)["c"].to_list() == [1.0, None, None, None]


@pytest.mark.parametrize(
    ("levels", "rule"),
    [
        ([1, 2, 3, 4, 5], "value >= 4"),
        ([0.5 * i for i in range(1, 11)], "value >= 3.5"),
        ([*range(1, 11)], "value >= 7"),
        ([0, 1], "value >= 1"),
        ([-1, 1], "value >= 1"),
        ([*range(1, 14)], None),
    ],
)
def test_rule_of_ratings(levels: list[float], rule: str | None) -> None:
    """Positive is 70 % of the top or more, on a scale of at most 12 levels."""
    values = pl.Series(levels, dtype=pl.Float32)
    guessed, why = guess_positive(values, named_rating=True)
    assert (str(guessed) if guessed else None, bool(why)) == (rule, True)


def test_rating_like_values_of_another_name_are_pointed_at() -> None:
    """A value that looks like a rating and is not called one makes no rule, but says how to."""
    rule, why = guess_positive(pl.Series([1.0, 2, 3, 4, 5]), named_rating=False)
    assert rule is None
    assert 'interactions.positive = "value >= 4"' in why


def test_title_column() -> None:
    """A column of a telling name is the title, else the first text, else none."""
    kinds = {c: infer_kind(pl.Series(c, TITLES))[0] for c in ("blurb", "Movie_Title")}
    assert title_column(["blurb", "Movie_Title"], kinds) == "Movie_Title"
    assert title_column(["blurb"], kinds) == "blurb"
    assert title_column(["price"], {}) is None
