"""MovieLens' and RecBole's formats."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from training.datasets import Dataset, load
from training.errors import DataError

Write = Callable[..., Path]

FLAGS = ["|".join("1" if i in on else "0" for i in range(19)) for on in ((3, 4, 5), (8,), (0,))]
U_ITEM = (
    f"1|Toy Story (1995)|01-Jan-1995||http://x|{FLAGS[0]}\n"
    f"2|Misérables, Les (1995) |01-Jan-1995||http://x|{FLAGS[1]}\n"
    f"3|Land Before Time (1995) (V)|01-Jan-1995||http://x|{FLAGS[1]}\n"
    f"4|unknown||||{FLAGS[2]}\n"
)


def first_user(dataset: Dataset) -> list[tuple[str, float, int]]:
    rows = dataset.interactions
    assert rows.value_E is not None
    assert rows.timestamp_E is not None
    mine = rows.user_E == 0
    return [
        (dataset.item_ids[i], float(v), int(t))
        for i, v, t in zip(
            rows.item_E[mine], rows.value_E[mine], rows.timestamp_E[mine], strict=True
        )
    ]


def test_movielens_100k(write_files: Write) -> None:
    """`u.data`, `u.item` (Latin-1, genre flags, year in the title) and `u.user` are read."""
    dataset = load(
        write_files(
            {
                "u.data": "196\t2\t3\t881250949\n186\t1\t4\t891717742\n186\t2\t5\t891717741\n",
                "u.item": U_ITEM.encode("latin-1"),
                "u.user": "186|39|F|executive|00000\n196|49|M|writer|55105\n",
            }
        )
    )
    assert first_user(dataset) == [("2", 5, 891717741000), ("1", 4, 891717742000)]
    assert dataset.items is not None
    assert dataset.users is not None
    assert dataset.item_ids == ["1", "2", "3", "4"]
    assert dataset.items.rows() == [
        ("Toy Story", 1995, "Animation|Children's|Comedy"),
        ("Misérables, Les", 1995, "Drama"),
        ("Land Before Time", 1995, "Drama"),
        ("unknown", None, "unknown"),
    ]
    assert dataset.users.columns == ["age", "gender", "occupation", "zip_code"]
    assert dataset.users["zip_code"].to_list() == ["00000", "55105"]
    assert dataset.config.title_column == "title"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_movielens_dat(write_files: Write, encoding: str) -> None:
    """`.dat` files with `::`, in Latin-1 (1M) or UTF-8 (10M), are read."""
    movies = "1::Misérables, Les (1995)::Drama|Musical\n2::Heat: A Film::Action\n"
    dataset = load(
        write_files(
            {
                "ratings.dat": "1::1::5::978300760\r\n1::2::3::978300000\r\n2::1::4::978300001\r\n",
                "movies.dat": movies.encode(encoding),
                "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
            }
        )
    )
    assert first_user(dataset) == [("2", 3, 978300000000), ("1", 5, 978300760000)]
    assert dataset.items is not None
    assert dataset.users is not None
    assert dataset.items["title"].to_list() == ["Misérables, Les (1995)", "Heat: A Film"]
    assert dataset.users["age"].to_list() == [1, 56]


def test_movielens_csv(write_files: Write) -> None:
    """`ratings.csv` and `movies.csv` of the later releases are read."""
    dataset = load(
        write_files(
            {
                "ratings.csv": "userId,movieId,rating,timestamp\n1,31,2.5,10\n1,10,5,5\n2,10,4,1\n",
                "movies.csv": 'movieId,title,genres\n10,"American President, The (1995)",Drama\n',
                "tags.csv": "userId,movieId,tag,timestamp\n",
            }
        )
    )
    assert first_user(dataset) == [("10", 5, 5000), ("31", 2.5, 10000)]
    assert dataset.items is not None
    assert dataset.items["title"].to_list() == ["American President, The (1995)", None]


def test_recbole(write_files: Write) -> None:
    """Atomic files lose the types of their names; token sequences are lists, but titles are not."""
    dataset = load(
        write_files(
            {
                "shop.inter": (
                    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
                    'a\t1\t4\t881250949\na\t"2\t5\t881250940\nb\t1\t3\t881250949\n'
                ),
                "shop.item": (
                    "item_id:token\tmovie_title:token_seq\tclass:token_seq\tvector:float_seq\n"
                    '1\tToy Story\tAnimation Comedy\t0.1 0.2\n"2\tHeat\tAction\t0.3 0.4\n'
                ),
            }
        )
    )
    assert dataset.name == "shop"
    assert first_user(dataset) == [('"2', 5, 881250940000), ("1", 4, 881250949000)]
    kinds = dataset.config.item_columns
    assert {name: k.kind for name, k in kinds.items() if name != "movie_title"} == {
        "class": "multi-categorical",
        "vector": "ignore",
    }
    assert kinds["class"].separator == " "
    assert dataset.config.title_column == "movie_title"


def test_one_file_is_a_data_set(write_files: Write) -> None:
    """A single file of interactions is a data set without features."""
    directory = write_files({"clicks.csv": "user,item\na,1\nb,2\n", "x.xlsx": "x"})
    assert load(directory / "clicks.csv").name == "clicks"
    with pytest.raises(DataError, match="the suffix is not one of"):
        load(directory / "x.xlsx")


def test_bad_rows_of_other_formats_have_their_line(write_files: Write) -> None:
    """Files without a header count lines from their first row."""
    directory = write_files({"ratings.dat": "1::1::5::978300760\n2::2::x::978300000\n"})
    with pytest.raises(DataError, match=r"ratings\.dat, line 2, column 'rating', value 'x'"):
        load(directory)
    directory = write_files({"u.data": "1\t1\t5\t978300760\n2\t2\n"}, "other")
    with pytest.raises(DataError, match=r"u\.data, line 2, column 'rating', value nothing"):
        load(directory)


def test_several_atomic_data_sets_are_refused(write_files: Write) -> None:
    """Which of several is meant is not guessed."""
    with pytest.raises(DataError, match=r"several data sets \(a.inter, b.inter\)"):
        load(write_files({"a.inter": "x", "b.inter": "y"}))


def test_wide_parquet_reads_only_what_it_needs(write_files: Write) -> None:
    """Columns of types that play no role do no harm."""
    directory = write_files({})
    pl.DataFrame(
        {"user_id": ["a", "b"], "item_id": ["1", "2"], "raw": [b"x", b"y"], "more": [[1], [2]]}
    ).write_parquet(directory / "interactions.parquet")
    pl.DataFrame({"item_id": ["1", "2"], "blob": [b"x", b"y"], "brand": ["p", "q"]}).write_parquet(
        directory / "items.parquet"
    )
    assert load(directory).config.item_columns["blob"].kind == "ignore"
