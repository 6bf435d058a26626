"""Get a public data set: from its publisher, or from the copy that a package carries.

Knows nothing of training. What arrives is checked against a known hash before it is opened, ends in
our layout, and stands there completely or not at all.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import polars as pl

from training.datasets.config import CONFIG_FILE, DatasetFile, InteractionsSection, ItemsSection
from training.datasets.load import load_source
from training.datasets.sources import Source, open_source, split_title
from training.datasets.store import refuse_existing, write_dataset
from training.datasets.tables import MORE, ROW
from training.errors import DataError, FetchError

NAME = "movielens-100k"
TERMS_FILE = "TERMS.txt"
TERMS = """\
MovieLens 100K, GroupLens Research, University of Minnesota.
It may be used for research. It may not be redistributed without permission, and may not be used
commercially without permission from the GroupLens Research Project (grouplens-info@umn.edu).
Publications that use it cite:
  F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context.
  ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. doi:10.1145/2827872
"""
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 15.0
PIP_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class ZipSource:
    """The publisher's archive."""

    url: str = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
    sha256: str = "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"
    members: tuple[str, ...] = ("ml-100k/u.data", "ml-100k/u.item", "ml-100k/u.user")


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A Python package that carries a copy, and the hash of each file in it."""

    requirement: str = "recbole==1.2.1"
    members: tuple[tuple[str, str], ...] = (
        (
            "recbole/dataset_example/ml-100k/ml-100k.inter",
            "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
        ),
        (
            "recbole/dataset_example/ml-100k/ml-100k.item",
            "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
        ),
        (
            "recbole/dataset_example/ml-100k/ml-100k.user",
            "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
        ),
    )


@dataclass(frozen=True, slots=True)
class Fetched:
    """A data set that is in place."""

    directory: Path
    source: str
    """Where it came from, in words."""
    terms: str
    already_there: bool


def fetch_movielens_100k(
    out: Path,
    *,
    publisher: ZipSource | None = None,
    package: WheelSource | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Fetched:
    """Put MovieLens 100K into `out`; does nothing where it is already there.

    Args:
        publisher: asked first.
        package: asked where the publisher cannot be reached.
        say: is told what is being tried.

    Raises:
        FetchError: neither source gave it.
        DataError: `out` holds something else, or cannot be written.
    """
    publisher, package = publisher or ZipSource(), package or WheelSource()
    if (out / TERMS_FILE).is_file() and (out / CONFIG_FILE).is_file():
        first_line = (out / TERMS_FILE).read_text(encoding="utf-8").split("\n", 1)[0]
        return Fetched(out, first_line.removeprefix("Source: "), TERMS, already_there=True)
    refuse_existing(out)
    with tempfile.TemporaryDirectory(prefix="recsvc-fetch-") as temporary:
        directory = Path(temporary)
        try:
            say(f"asking {publisher.url}")
            source, origin = _from_publisher(publisher, directory), publisher.url
        except FetchError as first:
            say(f"{first}; asking for the copy in the package {package.requirement}")
            try:
                source = _from_package(package, directory)
            except FetchError as second:
                raise FetchError(f"{NAME} is not to be had: {first}; {second}") from second
            origin = f"the copy in the Python package {package.requirement}"
        _write(source, directory, out, origin)
    return Fetched(out, origin, TERMS, already_there=False)


def _write(source: Source, directory: Path, out: Path, origin: str) -> None:
    declared = DatasetFile(
        name=NAME,
        interactions=InteractionsSection(positive="value >= 4", timestamp_unit="s"),
        items=ItemsSection(title="title"),
    )
    dataset = load_source(source, declared, directory)
    write_dataset(dataset, out, {TERMS_FILE: f"Source: {origin}\n\n{TERMS}"})


def _from_publisher(publisher: ZipSource, directory: Path) -> Source:
    archive = directory / "archive.zip"
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    digest = hashlib.sha256()
    try:
        with (
            httpx.stream("GET", publisher.url, timeout=timeout, follow_redirects=True) as answer,
            archive.open("wb") as stream,
        ):
            answer.raise_for_status()
            for block in answer.iter_bytes():
                digest.update(block)
                stream.write(block)
    except httpx.HTTPError as exc:
        reason = str(exc).split("\n")[0] or type(exc).__name__
        raise FetchError(f"{publisher.url} cannot be reached ({reason})") from exc
    if digest.hexdigest() != publisher.sha256:
        raise FetchError(
            f"{publisher.url} sent a file with sha256 {digest.hexdigest()[:12]}…, expected "
            f"{publisher.sha256[:12]}…"
        )
    unpacked = directory / "publisher"
    unpacked.mkdir()
    for member in publisher.members:
        _unpack(archive, member, unpacked)
    return open_source(unpacked)


def _from_package(package: WheelSource, directory: Path) -> Source:
    wheel = _download_wheel(package, directory / "wheel")
    unpacked = directory / "package"
    unpacked.mkdir()
    for member, sha256 in package.members:
        content = _unpack(wheel, member, unpacked).read_bytes()
        if (actual := hashlib.sha256(content).hexdigest()) != sha256:
            raise FetchError(
                f"{wheel.name}: {member} has sha256 {actual[:12]}…, expected {sha256[:12]}…"
            )
    return _canonical(open_source(unpacked))


def _download_wheel(package: WheelSource, into: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", str(into), package.requirement]
    try:
        done = subprocess.run(  # noqa: S603  # a fixed command, no shell
            command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise FetchError(f"pip did not download {package.requirement} ({exc})") from exc
    wheels = sorted(into.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1].removeprefix("ERROR: ") if lines else f"exit code {done.returncode}"
        raise FetchError(f"pip did not download {package.requirement} ({reason})")
    return wheels[0]


def _unpack(archive: Path, member: str, into: Path) -> Path:
    """One file of an archive, by its plain name."""
    try:
        with zipfile.ZipFile(archive) as opened:
            content = opened.read(member)
    except (zipfile.BadZipFile, KeyError, OSError) as exc:
        raise FetchError(f"{archive.name} does not hold {member} ({exc})") from exc
    path = into / Path(member).name
    path.write_bytes(content)
    return path


def _canonical(source: Source) -> Source:
    """RecBole's names and lists as MovieLens' own: title, year, genres separated by `|`.

    RecBole took the last parenthesis of a title for the year, also where it reads `(V)`, and
    calls the one film without a title `unkonwn`.
    """
    items = source.items
    if items is None or "movie_title" not in items.columns:
        raise DataError(f"{source.interactions.path.parent} holds no items with a movie_title")
    known = pl.when(pl.col("movie_title") == "unkonwn").then(pl.lit("unknown"))
    title, year = split_title(known.otherwise(pl.col("movie_title")))
    digits = pl.col("release_year").str.extract(r"^(\d{4})$")
    genres = pl.col("class").str.replace_all(" ", "|", literal=True).alias("genres")
    kept = ("item_id", "title", "year", "genres")
    frame = items.frame.with_columns(title, pl.coalesce(digits, year).alias("year"), genres)
    table = replace(items, frame=frame.select(ROW, *kept, MORE), columns=kept)
    return replace(source, items=table, item_kinds={})
