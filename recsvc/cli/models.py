"""`recsvc models`: the registry, by hand. Works on its files; needs no running service."""

from datetime import UTC, datetime
from typing import Any

import orjson
import typer

from recsvc.bundle import load_bundle
from recsvc.contract.errors import RegistryError
from recsvc.contract.manifest import KernelSpec
from recsvc.contract.registry import Registry
from recsvc.rollout import no_current_message
from recsvc.settings import Settings


def open_registry(url: str | None) -> Registry:
    """The registry of a flag, or of the settings."""
    return Registry(Settings.load({"registry": url}).registry)


def list_versions(registry: Registry, as_json: bool) -> None:
    """Print the versions, marking the current and the previous one."""
    current = registry.current()
    roles = {current.previous: "previous", current.version: "current"} if current else {}
    rows = [{"version": v, "role": roles.get(v)} for v in registry.versions()]
    if as_json:
        typer.echo(orjson.dumps(rows).decode())
        return
    for row in rows:
        typer.echo(f"{row['version']}  {row['role'] or ''}".rstrip())
    if not rows:
        raise RegistryError(no_current_message(registry))


def show(registry: Registry, version: str | None, as_json: bool) -> None:
    """Print a version's manifest: all of it as JSON, else what a person asks first."""
    manifest = registry.manifest(version or current_version(registry))
    if as_json:
        typer.echo(manifest.model_dump_json(indent=2))
        return
    data, adaptation, lineage = manifest.dataset, manifest.adaptation, manifest.lineage
    facts: dict[str, Any] = {
        "version": manifest.version,
        "created": manifest.created_at,
        "data set": f"{data.name}: {data.users} users, {data.items} items, "
        f"{data.positives} positives of {data.interactions} interactions",
        "positive": data.rules.positive or "every interaction",
        "algorithm": f"{adaptation.algorithm}, {adaptation.steps} steps, {adaptation.dims} dims",
        "item-item kernel": _kernel_line(manifest.kernel, adaptation.catalogue_items or data.items),
        "seed": lineage.seed,
        "parent": lineage.parent or "none",
        "files": f"{sum(f.size_bytes for f in manifest.files.values()) / 1e6:.1f} MB",
        **lineage.decisions,
    }
    for name, value in facts.items():
        typer.echo(f"{name}: {value}")


def _kernel_line(kernel: KernelSpec | None, items: int) -> str:
    if kernel is None:
        return "none, the vector alone is served"
    pooling = kernel.pooling
    ranks = ", ".join(f"{factor:.2f}" for factor in pooling.rank)
    return (
        f"{kernel.edges} edges of {items} items, theta {pooling.theta:.2f}, "
        f"beta {pooling.beta[1]:.2f} to {pooling.beta[-1]:.2f} and "
        f"alpha {pooling.alpha[1]:.2f} to {pooling.alpha[-1]:.2f} "
        f"for supports of 1 to {len(pooling.beta) - 1}, latest rows count {ranks}"
    )


def activate(registry: Registry, version: str) -> None:
    """Verify, then promote."""
    load_bundle(registry.open(version))
    pointer = registry.promote(version, datetime.now(UTC))
    typer.echo(f"{pointer.version} is current (before: {pointer.previous or 'none'})")


def rollback(registry: Registry) -> None:
    """Verify the version before, then promote it."""
    pointer = registry.current()
    if pointer is not None and pointer.previous is not None:
        load_bundle(registry.open(pointer.previous))
    pointer = registry.rollback(datetime.now(UTC))
    typer.echo(f"{pointer.version} is current again (before: {pointer.previous})")


def verify(registry: Registry, version: str | None) -> None:
    """Load a version as the service would."""
    bundle = load_bundle(registry.open(version or current_version(registry)))
    typer.echo(
        f"{bundle.version} is sound: {len(bundle.manifest.files) + 1} files match, "
        "golden rows replayed"
    )


def current_version(registry: Registry) -> str:
    """The version that CURRENT names.

    Raises:
        RegistryError: there is none.
    """
    current = registry.current()
    if current is None:
        raise RegistryError(no_current_message(registry))
    return current.version
