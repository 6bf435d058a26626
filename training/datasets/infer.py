"""What a feature column holds, and which interactions are positive, guessed from the values.

Knows nothing of files. Every guess comes with a sentence that says what was decided and why.
"""

import re
from collections.abc import Sequence

import polars as pl

from recsvc.contract.manifest import PositiveRule
from training.datasets.dataset import ColumnConfig
from training.datasets.times import iso_to_ms

FEW = 32
"""Whole numbers with at most so many distinct values are codes, not quantities."""
RATING_LEVELS = 12
RATING_SHARE = 0.7
NOT_A_VALUE = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "\\N")
"""What text files write where a feature is missing."""
WORDS_OF_A_PLOT = 20.0
"""Texts of so many words on average are read by word vectors: tokens of long texts overfit."""
TITLE_NAMES = ("title", "name", "movietitle", "itemtitle", "productname", "itemname")

_WORDS_OF_A_CATEGORY = 4.0
_SEPARATORS = ("|", ";", ",")


def typed_features(frame: pl.DataFrame, *, is_text: bool) -> pl.DataFrame:
    """Feature columns with the type of their values, missing values as null.

    Whole numbers become Int64, other numbers Float64, `true`/`false` Boolean, dates ISO 8601 text.
    """
    return frame.select(_typed(frame[name], is_text=is_text) for name in frame.columns)


def infer_kind(values: pl.Series) -> tuple[ColumnConfig, str]:
    """The kind of one column, as `typed_features` leaves it.

    Returns:
        The configuration, and why.
    """
    known = values.drop_nulls()
    if known.is_empty():
        return ColumnConfig(kind="ignore"), "it has no value"
    if isinstance(values.dtype, pl.List):
        return _list_kind(values.dtype)
    if not (values.dtype.is_numeric() or values.dtype in (pl.String, pl.Boolean)):
        return ColumnConfig(kind="ignore"), f"values of type {values.dtype} are not understood"
    if known.n_unique() == 1:
        return ColumnConfig(kind="ignore"), f"it only ever holds {known[0]!r}"
    if values.dtype == pl.Boolean:
        return ColumnConfig(kind="categorical"), "it holds true and false"
    config, why = _kind_of(known)
    if config.kind == "categorical" and known.n_unique() == len(known) > FEW:
        return ColumnConfig(kind="ignore"), "each row has a value of its own"
    return config, why


def _kind_of(known: pl.Series) -> tuple[ColumnConfig, str]:
    return _number_kind(known) if known.dtype.is_numeric() else _text_kind(known)


def guess_positive(values: pl.Series, *, named_rating: bool) -> tuple[PositiveRule | None, str]:
    """Which interactions are positive, where nobody said so.

    Args:
        values: of all interactions.
        named_rating: whether the file calls them ratings.

    Returns:
        The rule (None: every interaction), and why.
    """
    levels = values.drop_nans().drop_nulls().unique().sort().to_list()
    if not named_rating:
        why = "every interaction is positive, because the value is not called a rating"
        if 3 <= len(levels) <= RATING_LEVELS and levels[0] >= 0:
            top = f"{levels[-1]:g}"
            why += (
                f"; its {len(levels)} levels up to {top} look like ratings: if they are, set "
                f'interactions.positive = "value >= {_threshold(levels):g}"'
            )
        return None, why
    if not levels or len(levels) > RATING_LEVELS:
        return None, (
            f"every interaction is positive, because {len(levels)} distinct ratings are too many "
            f'for a scale (at most {RATING_LEVELS}); set interactions.positive = "value >= ..."'
        )
    rule = PositiveRule(threshold=_threshold(levels))
    return rule, f"positive is {rule}: 70 % of the top rating ({levels[-1]:g}) or more"


def title_column(columns: Sequence[str], kinds: dict[str, ColumnConfig]) -> str | None:
    """The item column that names an item to a person."""
    by_plain = {c.lower().replace("_", "").replace(" ", ""): c for c in columns}
    for name in TITLE_NAMES:
        if name in by_plain:
            return by_plain[name]
    return next((c for c in columns if c in kinds and kinds[c].kind == "text"), None)


def _threshold(levels: Sequence[float]) -> float:
    """The lowest level at 70 % of the top or more."""
    least = RATING_SHARE * levels[-1] - 1e-6
    return round(next(v for v in levels if v >= least), 6)


def _typed(values: pl.Series, *, is_text: bool) -> pl.Series:
    dtype = values.dtype
    if dtype in (pl.Categorical, pl.Enum):
        values, dtype = values.cast(pl.String), pl.String()
    if dtype == pl.String:
        missing = NOT_A_VALUE if is_text else ("",)
        stripped = values.str.strip_chars()
        text = (
            values.to_frame().select(pl.when(~stripped.is_in(missing)).then(stripped)).to_series()
        )
        return (_parsed(text) if is_text else text).alias(values.name)
    if dtype.is_float() or dtype.is_decimal():
        number = values.cast(pl.Float64)
        return number.set(~number.is_finite(), None)
    if dtype.is_integer():
        return values.cast(pl.Int64, strict=False)
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return values.dt.to_string("iso:strict")
    return values.list.drop_nulls() if isinstance(dtype, pl.List) else values


def _parsed(text: pl.Series) -> pl.Series:
    """Text from a text file as numbers or booleans, where all of it is."""
    known = text.drop_nulls()
    if known.is_empty() or known.str.contains(r"^[+-]?0\d").any():
        return text  # a leading zero says that it is a code
    if known.str.contains("^(?i:true|false)$").all():
        return text.str.to_lowercase() == "true"
    if known.str.contains(r"^[+-]?\d{1,18}$").all():
        return text.cast(pl.Int64)
    number = text.cast(pl.Float64, strict=False)
    if number.null_count() > text.null_count():
        return text
    return number.set(~number.is_finite(), None)


def _list_kind(dtype: pl.List) -> tuple[ColumnConfig, str]:
    inner = dtype.inner
    if isinstance(inner, pl.String) or inner in (pl.Categorical, pl.Enum) or inner.is_integer():
        return ColumnConfig(kind="multi-categorical"), "its values are lists"
    return ColumnConfig(kind="ignore"), f"lists of {inner} are not understood"


def _number_kind(known: pl.Series) -> tuple[ColumnConfig, str]:
    n_distinct = known.n_unique()
    whole = bool((known == known.floor()).all())
    if whole and n_distinct <= FEW:
        return ColumnConfig(kind="categorical"), f"it holds {n_distinct} distinct whole numbers"
    span = float(known.max()) - float(known.min())  # type: ignore[arg-type]  # numbers, and not empty
    if whole and n_distinct == len(known) and span + 1 == n_distinct:
        return ColumnConfig(kind="ignore"), "it counts the rows"
    if whole and re.search(r"(^|_)(id|code|zip|zipcode|postcode)$", known.name.lower()):
        return ColumnConfig(kind="categorical"), "its name says that its numbers are codes"
    return ColumnConfig(kind="numeric"), "it holds numbers"


def _text_kind(known: pl.Series) -> tuple[ColumnConfig, str]:
    if known.str.contains("^https?://").mean() > 0.5:  # type: ignore[operator]  # a share
        return ColumnConfig(kind="ignore"), "it holds web addresses"
    if known.to_frame("t").select(iso_to_ms(pl.col("t"))).to_series().null_count() == 0:
        return ColumnConfig(kind="datetime"), "it holds ISO 8601 dates"
    for separator in _SEPARATORS:
        if _is_separator(known, separator):
            return (
                ColumnConfig(kind="multi-categorical", separator=separator),
                f"its values are lists separated by {separator!r}",
            )
    n_distinct, n_words = known.n_unique(), _mean_words(known)
    comes_back = n_distinct <= max(FEW, len(known) / 20) and n_distinct <= len(known) / 2
    long = n_words > _WORDS_OF_A_CATEGORY or (n_distinct > len(known) / 2 and n_words > 1.5)
    if long and not comes_back:
        why = f"{n_words:.1f} words a value, {n_distinct} distinct"
        if n_words < WORDS_OF_A_PLOT:
            return ColumnConfig(kind="text"), why
        return ColumnConfig(kind="text", encoder="words"), f"{why}, so by word vectors"
    return ColumnConfig(kind="categorical"), f"it holds {n_distinct} distinct values"


def _is_separator(known: pl.Series, separator: str) -> bool:
    """Whether values are lists of short parts that come back from row to row."""
    share = float(known.str.contains(separator, literal=True).mean())  # type: ignore[arg-type]  # a mean of numbers
    if share < (0.5 if separator == "," else 0.05):
        return False
    parts = known.str.split(separator).explode(empty_as_null=False).str.strip_chars()
    parts = parts.filter(parts != "")
    return len(parts) >= 1.5 * parts.n_unique() and _mean_words(parts) <= _WORDS_OF_A_CATEGORY


def _mean_words(values: pl.Series) -> float:
    return float(values.str.count_matches(r"\S+").mean() or 0.0)  # type: ignore[arg-type]  # a mean of numbers
