"""The manifest of a bundle: what it holds, how it was made, and the hash of every file.

Knows nothing of ONNX Runtime or torch. A manifest is JSON; nothing in a bundle is ever unpickled.
The manifest seals itself too: `checksum` is the SHA-256 of the file's bytes with the checksum's own
64 digits read as zeros. So `write_manifest` and `read_manifest` are the only way in and out.
"""

import hashlib
import math
import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from recsvc.contract.errors import BundleCorruptError, ManifestError
from recsvc.contract.schema import FeatureSchema

MANIFEST_FILE = "manifest.json"
FORMAT = 1

MAX_ITEM_USERS = 64
"""Users that are kept of an item without training: the first ones that took it."""
MAX_OTHER_ITEMS = 32
"""Other items of such a user that are kept: the latest ones before."""

_UNSEALED = "0" * 64
_SEAL = re.compile(rb'"checksum": ?"(?P<digits>[0-9a-f]{64})"')
_RULE = re.compile(
    r"^\s*(?P<column>\w+)\s*(?P<op>>=|>|==|<=|<)\s*(?P<threshold>-?\d+(?:\.\d+)?)\s*$"
)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PositiveRule(_Model):
    """Which interactions are positive, for example `value >= 4`."""

    column: str = "value"
    op: Literal[">=", ">", "==", "<=", "<"] = ">="
    threshold: float

    @classmethod
    def parse(cls, text: str) -> "PositiveRule":
        """Read `value >= 4`.

        Raises:
            ValueError: the text is no such rule.
        """
        match = _RULE.match(text)
        if match is None:
            raise ValueError(f"positive rule {text!r} is not of the form 'value >= 4'")
        return cls.model_validate({**match.groupdict(), "threshold": float(match["threshold"])})

    def __str__(self) -> str:
        return f"{self.column} {self.op} {self.threshold:g}"

    def accepts(self, value: float) -> bool:
        """Whether a value satisfies the rule."""
        match self.op:
            case ">=":
                return value >= self.threshold
            case ">":
                return value > self.threshold
            case "==":
                return value == self.threshold
            case "<=":
                return value <= self.threshold
            case "<":
                return value < self.threshold


class InteractionRules(_Model):
    """How raw events become support rows: the same rules offline and online."""

    positive: PositiveRule | None = None
    """None: every interaction is positive."""
    event_weights: dict[str, float] = Field(default_factory=dict)
    """Weight of a support row by event type; one not listed weighs 1; 0 is no evidence."""

    def label(self, value: float | None) -> float:
        """1 for a positive interaction, 0 for a negative one. No value counts as positive."""
        if self.positive is None or value is None:
            return 1.0
        return float(self.positive.accepts(value))

    def weight(self, event: str | None) -> float:
        return self.event_weights.get(event, 1.0) if event is not None else 1.0


class TensorSpec(_Model):
    """Name, element type and shape of a graph's input or output."""

    name: str
    dtype: str
    """ONNX Runtime's name, for example `tensor(float)`."""
    shape: tuple[int | str, ...]
    """A string is a dynamic dimension."""


class GraphSpec(_Model):
    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class FileEntry(_Model):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


class AdaptationSpec(_Model):
    """How the service calls the adapt graph."""

    algorithm: str
    dims: int = Field(ge=1)
    state_dims: int = Field(ge=1)
    """P, width of the adapted state; its first `dims` entries are the vector that is scanned."""
    steps: int = Field(ge=0)
    """K used unless a request says otherwise."""
    max_steps: int = Field(ge=0)
    window: int = Field(ge=1)
    """Support sizes that training saw; larger supports are adapted with this size's step."""
    max_support: int = Field(ge=1)
    """Most recent support rows given to the graph."""
    catalogue: Literal["full", "sample"] = "full"
    """What the inner loss sees of the catalogue: all trained items, or `catalogue_sample.npy`."""
    catalogue_items: int | None = Field(default=None, ge=1)
    """The catalogue is the first so many rows of the item vectors: rows beyond have no trained
    vector. None: all rows."""
    inner_vectors: bool = False
    """Whether the inner loop sees trained items by vectors of their own, in inner_vectors.npy
    (catalogue_items, dims); all other items, and without that file all, by those that are scored.
    """


class PoolingSpec(_Model):
    """How the item-item kernel joins the user vector; see `recsvc.contract.pooling`."""

    rank: tuple[float, ...] = Field(min_length=1)
    """Factor of a support row by how many positive rows came after it; further back, the last."""
    alpha: tuple[float, ...] = Field(min_length=2)
    """By support size 0 .. window."""
    beta: tuple[float, ...] = Field(min_length=2)
    """By support size 0 .. window, at least 0."""
    theta: float

    @model_validator(mode="after")
    def _sound(self) -> "PoolingSpec":
        if len(self.alpha) != len(self.beta):
            raise ValueError(f"{len(self.alpha)} alphas and {len(self.beta)} betas; give one each")
        numbers = (*self.rank, *self.alpha, *self.beta, self.theta)
        if not all(math.isfinite(v) for v in numbers) or min(*self.rank, *self.beta) < 0:
            raise ValueError("pooling weights must be finite, rank and beta at least 0")
        return self


class ItemAdaptationSpec(_Model):
    """How the service calls the adapt_item graph, which moves an item from its content prior by
    its first interactions.

    Inputs: prior_vectors_BD and prior_bias_B (what item_prior says), support_states_BSD (adapted
    states of the users who took the item, without it), support_offset_BS (each one's log of the
    summed exponentials of all trained items' scores), support_weight_BS (0 is padding), exposure_B
    (positive events of all users on trained items since the item's first one, each user and item
    once, and the item's own), and sample_states_MD with sample_offset_M, users at some events of
    training, from the files of these names. No state knows of features, nor of more than
    `MAX_OTHER_ITEMS` items.
    Outputs: vectors_BD and bias_B, on the scale of the trained items'.
    """

    max_support: int = Field(ge=1)
    """Most interactions of an item that are given to the graph: its first ones."""
    sample_users: int = Field(ge=1)
    """M, rows of sample_states.npy and sample_offset.npy."""


class KernelSpec(_Model):
    """The item-item kernel of the bundle: its edges lie in edges_*.npy, what made them in
    kernel.npz."""

    edges: int = Field(ge=0)
    """E, edges of all items."""
    pooling: PoolingSpec


class DatasetSpec(_Model):
    """What the bundle was trained on."""

    name: str
    users: int
    items: int
    interactions: int
    positives: int
    sha256: str
    """Hash of the canonical interactions."""
    rules: InteractionRules
    user_features: FeatureSchema
    item_features: FeatureSchema
    title_column: str | None = None
    """Item column that names an item to a person, where there is one."""


class Lineage(_Model):
    code_version: str
    parent: str | None = None
    seed: int
    settings: dict[str, Any] = Field(default_factory=dict)
    decisions: dict[str, str] = Field(default_factory=dict)
    """What `fit` decided by itself, and why."""


class Manifest(_Model):
    """Everything the service must know before it opens a file of the bundle."""

    format: int = FORMAT
    version: str
    created_at: str
    """UTC, ISO 8601."""
    adaptation: AdaptationSpec
    graphs: dict[str, GraphSpec]
    """By role: adapt_user, user_prior, item_prior, and adapt_item where `item_adaptation` is."""
    files: dict[str, FileEntry]
    """Every file of the bundle but the manifest, by its name."""
    dataset: DatasetSpec
    lineage: Lineage
    kernel: KernelSpec | None = None
    """None: the vector alone is served."""
    item_adaptation: ItemAdaptationSpec | None = None
    """None: items without training keep what their content says."""
    checksum: str = Field(default=_UNSEALED, pattern=r"^[0-9a-f]{64}$")
    """Seal over the manifest's own bytes; set by `write_manifest`."""

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: int) -> int:
        if value != FORMAT:
            raise ValueError(f"bundle format {value} is not the one this version reads ({FORMAT})")
        return value

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            if Path(name).name != name or name in ("", ".", "..", MANIFEST_FILE):
                raise ValueError(f"file name {name!r} is not a plain name inside the bundle")
        return files


def write_manifest(directory: Path, manifest: Manifest) -> Manifest:
    """Seal the manifest, write `directory/manifest.json`, and return what was written.

    Raises:
        OSError: the file cannot be written.
    """
    unsealed = manifest.model_copy(update={"checksum": _UNSEALED})
    raw = unsealed.model_dump_json(indent=2).encode()
    digits = hashlib.sha256(raw).hexdigest()
    start = _seal_position(raw)
    with (directory / MANIFEST_FILE).open("wb") as stream:
        stream.write(raw[:start] + digits.encode() + raw[start + len(digits) :])
        stream.flush()
        os.fsync(stream.fileno())
    return manifest.model_copy(update={"checksum": digits})


def read_manifest(directory: Path) -> Manifest:
    """Read `directory/manifest.json`, check its seal, and validate it.

    Raises:
        ManifestError: it is missing, or not a manifest of this format.
        BundleCorruptError: its bytes are not those that were written.
    """
    path = directory / MANIFEST_FILE
    try:
        raw = path.read_bytes()
    except FileNotFoundError as exc:
        raise ManifestError(f"{path} does not exist: {directory} is not a bundle") from exc
    except OSError as exc:
        raise ManifestError(f"{path} cannot be read: {exc}") from exc
    return parse_manifest(raw, str(path))


def parse_manifest(raw: bytes, source: str) -> Manifest:
    """Check the seal of a manifest's bytes and validate them.

    Args:
        raw: the file's content.
        source: what an error calls it.

    Raises:
        ManifestError: not a manifest of this format.
        BundleCorruptError: the bytes are not those that were sealed.
    """
    start = _seal_position(raw)
    digits = raw[start : start + 64]
    unsealed = raw[:start] + _UNSEALED.encode() + raw[start + 64 :]
    if start < 0 or hashlib.sha256(unsealed).hexdigest().encode() != digits:
        raise BundleCorruptError(
            f"{source} does not match its own checksum; copy the version again or roll back"
        )
    try:
        return Manifest.model_validate_json(raw)
    except ValidationError as exc:
        raise ManifestError(f"{source} is not a manifest that this version reads: {exc}") from exc


def _seal_position(raw: bytes) -> int:
    """Where the checksum's digits start; -1 where there is none. The last one is the manifest's."""
    matches = list(_SEAL.finditer(raw))
    return matches[-1].start("digits") if matches else -1


def hash_file(path: Path) -> FileEntry:
    """Size and SHA-256 of a file, read in blocks."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileEntry(sha256=digest, size_bytes=path.stat().st_size)


def verify_files(directory: Path, manifest: Manifest) -> None:
    """Check every file that the manifest names against its recorded size and hash.

    Raises:
        BundleCorruptError: a file is missing or differs; the message names it.
    """
    for name, expected in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise BundleCorruptError(
                f"bundle {manifest.version}: {name} is missing; copy the version again or roll back"
            )
        actual = hash_file(path)
        if actual != expected:
            raise BundleCorruptError(
                f"bundle {manifest.version}: {name} has sha256 {actual.sha256[:12]}… and "
                f"{actual.size_bytes} bytes, the manifest says {expected.sha256[:12]}… and "
                f"{expected.size_bytes}; copy the version again or roll back"
            )
