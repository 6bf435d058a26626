"""Which files of a directory make a data set, in our own layout or one of the usual formats.

Knows nothing of rows. Formats: our layout (DESIGN section "a data set on disk"); RecBole atomic
files; MovieLens 100K (`u.data`), 1M and 10M (`.dat`), 20M and later (`ratings.csv`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from training.datasets.columns import plain
from training.datasets.dataset import ColumnConfig
from training.datasets.tables import Table, open_csv, open_lines, open_parquet, open_text
from training.errors import DataError

INTERACTIONS, ITEMS, USERS = "interactions", "items", "users"
GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance"),
    *("Sci-Fi", "Thriller", "War", "Western"),
)
"""Genre flags of `u.item`, in its order."""
FREE_TEXT_NAMES = ("title", "name", "text", "description", "review", "summary", "plot")


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one data set, not read yet."""

    name: str
    layout: str
    """Which format it was recognised as."""
    interactions: Table
    items: Table | None = None
    users: Table | None = None
    item_kinds: dict[str, ColumnConfig] = field(default_factory=dict)
    """What the format itself says about feature columns."""
    user_kinds: dict[str, ColumnConfig] = field(default_factory=dict)


def open_source(path: Path) -> Source:
    """Recognise a data set: a directory, or one file of interactions.

    Raises:
        DataError: nothing there is recognised, or a file is damaged.
    """
    if path.is_file():
        return _open_file(path)
    if not path.is_dir():
        raise DataError(f"{path} does not exist; give a data set's directory or interactions file")
    for recognise in (_own_layout, _recbole, _movielens_100k, _movielens_dat, _movielens_csv):
        source = recognise(path)
        if source is not None:
            return source
    found = sorted(p.name for p in path.iterdir())[:12]
    raise DataError(
        f"{path} holds no data set (found: {', '.join(found) or 'nothing'}); expected "
        "interactions.parquet or interactions.csv, RecBole's *.inter, or MovieLens' u.data, "
        "ratings.dat or ratings.csv"
    )


def _open_file(path: Path) -> Source:
    openers: dict[str, Callable[[Path], Table]] = {
        ".parquet": open_parquet,
        ".csv": open_csv,
        ".tsv": open_csv,
        ".inter": _atomic,
        ".data": _u_data,
        ".dat": lambda p: open_lines(p, separator="::", columns=_RATING),
    }
    if path.suffix not in openers:
        raise DataError(f"{path}: the suffix is not one of {', '.join(openers)}; rename the file")
    return Source(path.stem, "one file", openers[path.suffix](path))


def _own_layout(path: Path) -> Source | None:
    interactions = _parquet_or_csv(path, INTERACTIONS)
    if interactions is None:
        return None
    items, users = _parquet_or_csv(path, ITEMS), _parquet_or_csv(path, USERS)
    return Source(path.resolve().name, "recsvc", interactions, items, users)


def _parquet_or_csv(path: Path, stem: str) -> Table | None:
    parquet, csv = path / f"{stem}.parquet", path / f"{stem}.csv"
    if parquet.exists() and csv.exists():
        raise DataError(f"{path} holds both {parquet.name} and {csv.name}; remove one of them")
    if parquet.exists():
        return open_parquet(parquet)
    return open_csv(csv) if csv.exists() else None


def _recbole(path: Path) -> Source | None:
    found = sorted(path.glob("*.inter"))
    if not found:
        return None
    if len(found) > 1:
        names = ", ".join(p.name for p in found)
        raise DataError(f"{path} holds several data sets ({names}); give one of these files")
    stem = found[0].with_suffix("")
    source = Source(stem.name, "RecBole", _atomic(found[0]))
    for suffix, side in ((".item", "item"), (".user", "user")):
        if (file := stem.with_name(stem.name + suffix)).exists():
            table = _atomic(file)
            kinds = _atomic_kinds(file)
            tables = {f"{side}s": table, f"{side}_kinds": kinds}
            source = replace(source, **tables)  # type: ignore[arg-type]  # names of fields
    return source


def _atomic(path: Path) -> Table:
    """A RecBole file with the types taken off its column names."""
    table = open_text(path, separator="\t", quoted=False)
    names = {c: c.split(":", 1)[0] for c in table.columns}
    return replace(table, frame=table.frame.rename(names), columns=tuple(names.values()))


def _atomic_kinds(path: Path) -> dict[str, ColumnConfig]:
    """What a RecBole file's types say: sequences of tokens are lists separated by spaces."""
    kinds: dict[str, ColumnConfig] = {}
    for column in open_text(path, separator="\t", quoted=False).columns:
        name, _, kind = column.partition(":")
        if kind == "float_seq":
            kinds[name] = ColumnConfig(kind="ignore")
        elif kind == "token_seq" and not any(w in plain(name) for w in FREE_TEXT_NAMES):
            kinds[name] = ColumnConfig(kind="multi-categorical", separator=" ")
    return kinds


_RATING = ("user_id", "item_id", "rating", "timestamp")


def _u_data(path: Path) -> Table:
    return open_text(path, separator="\t", quoted=False, columns=_RATING)


def _movielens_100k(path: Path) -> Source | None:
    if not (path / "u.data").exists():
        return None
    items, users = path / "u.item", path / "u.user"
    head = ("item_id", "title", "release_date", "video_date", "url")
    user_columns = ("user_id", "age", "gender", "occupation", "zip_code")
    return Source(
        "movielens-100k",
        "MovieLens 100K",
        _u_data(path / "u.data"),
        _movies(open_lines(items, separator="|", columns=(*head, *GENRES)))
        if items.exists()
        else None,
        open_lines(users, separator="|", columns=user_columns) if users.exists() else None,
    )


def _movies(table: Table) -> Table:
    """The columns of `u.item` that say something: title, year, genres."""
    flags = [pl.when(pl.col(g) == "1").then(pl.lit(g)) for g in GENRES]
    genres = pl.concat_str(flags, separator="|", ignore_nulls=True).alias("genres")
    kept = ("item_id", "title", "year", "genres")
    columns = [*split_title(pl.col("title")), genres]
    frame = table.frame.with_columns(columns).select("_row", *kept, "_more")
    return replace(table, frame=frame, columns=kept)


def split_title(title: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """`Toy Story (1995)` as the columns title and year (text; null where there is none)."""
    year = title.str.extract(r"\((\d{4})\)\s*(?:\(V\)\s*)?$")
    name = title.str.replace(r"\s*\(\d{4}\)\s*(?:\(V\)\s*)?$", "").str.strip_chars()
    return name.alias("title"), year.alias("year")


def _movielens_dat(path: Path) -> Source | None:
    if not (path / "ratings.dat").exists():
        return None
    items, users = path / "movies.dat", path / "users.dat"
    user_columns = ("user_id", "gender", "age", "occupation", "zip_code")
    return Source(
        path.resolve().name,
        "MovieLens .dat",
        open_lines(path / "ratings.dat", separator="::", columns=_RATING),
        open_lines(items, separator="::", columns=("item_id", "title", "genres"))
        if items.exists()
        else None,
        open_lines(users, separator="::", columns=user_columns) if users.exists() else None,
    )


def _movielens_csv(path: Path) -> Source | None:
    if not (path / "ratings.csv").exists():
        return None
    items = path / "movies.csv"
    return Source(
        path.resolve().name,
        "MovieLens .csv",
        open_csv(path / "ratings.csv"),
        open_csv(items) if items.exists() else None,
    )
