"""The manifest's seal, and the hashes of the files it names."""

from pathlib import Path

import pytest

from recsvc.contract.errors import BundleCorruptError, ManifestError
from recsvc.contract.manifest import (
    MANIFEST_FILE,
    Manifest,
    parse_manifest,
    read_manifest,
    verify_files,
    write_manifest,
)
from tests.recsvc.bundles import write_world


@pytest.fixture
def written(tmp_path: Path) -> Manifest:
    return write_world(tmp_path, "v1")


def test_manifest_reads_back_as_written(tmp_path: Path, written: Manifest) -> None:
    """What was written is read back, checksum included."""
    assert written == read_manifest(tmp_path)
    assert written.checksum != "0" * 64


def test_sealing_again_changes_nothing(tmp_path: Path, written: Manifest) -> None:
    """Writing a manifest that was read gives the same bytes."""
    before = (tmp_path / MANIFEST_FILE).read_bytes()
    write_manifest(tmp_path, read_manifest(tmp_path))
    assert before == (tmp_path / MANIFEST_FILE).read_bytes()


def test_every_flipped_bit_of_the_manifest_is_found(tmp_path: Path, written: Manifest) -> None:
    """No single bit of the manifest can change unnoticed, whitespace and the seal included."""
    good = (tmp_path / MANIFEST_FILE).read_bytes()
    for position in range(8 * len(good)):
        bad = bytearray(good)
        bad[position // 8] ^= 1 << position % 8
        with pytest.raises(BundleCorruptError, match=r"manifest\.json"):
            parse_manifest(bytes(bad), MANIFEST_FILE)


def test_missing_manifest_is_named(tmp_path: Path) -> None:
    """A directory without a manifest is no bundle."""
    with pytest.raises(ManifestError, match="is not a bundle"):
        read_manifest(tmp_path)


def test_unknown_format_is_refused(tmp_path: Path, written: Manifest) -> None:
    """A manifest of a later format is intact but not read."""
    write_manifest(tmp_path, written.model_copy(update={"format": 99}))
    with pytest.raises(ManifestError, match="format 99"):
        read_manifest(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path, written: Manifest) -> None:
    """A file that the manifest lists and the directory lacks is named."""
    (tmp_path / "item_bias.npy").unlink()
    with pytest.raises(BundleCorruptError, match=r"item_bias\.npy is missing"):
        verify_files(tmp_path, written)
