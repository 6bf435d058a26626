"""A directory of text files for the tests of data sets."""

from collections.abc import Callable
from pathlib import Path

import pytest

WriteFiles = Callable[..., Path]

RATINGS = "user_id,item_id,rating\na,1,5\nb,2,4\na,2,3\nb,3,1\n"


@pytest.fixture
def write_files(tmp_path: Path) -> WriteFiles:
    """Write files into one directory: `write_files({"interactions.csv": ...})`."""

    def write(files: dict[str, str | bytes], name: str = "shop") -> Path:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        for file, content in files.items():
            raw = content.encode() if isinstance(content, str) else content
            (directory / file).write_bytes(raw)
        return directory

    return write
