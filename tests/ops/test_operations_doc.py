"""docs/operations.md names only what exists."""

import re

from recsvc.app import ROUTERS
from recsvc.recommender.known_users import MAX_AGE_S
from recsvc.settings import CONFIG_VARIABLE, Settings
from recsvc.telemetry import Metrics
from tests.ops.dockerfile import ROOT
from tests.ops.kustomize import K8S, of_kind, read_files

TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
OBJECTS = read_files(K8S / "base")


def test_metrics_exist() -> None:
    """Every metric that the text names is exported, and every exported one is named."""
    exported = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Metrics().registry.collect()
    }
    assert set(re.findall(r"\brecsvc_[a-z_]+", TEXT)) == exported


def test_settings_exist() -> None:
    """Every variable that the text names is a setting."""
    known = {f"RECSVC_{name.upper()}" for name in Settings.model_fields} | {CONFIG_VARIABLE}
    assert set(re.findall(r"RECSVC_[A-Z_]+[A-Z]", TEXT)) <= known


def test_jobs_and_claims_exist() -> None:
    """Every CronJob that a command starts from, and every claim of a table, is in the base."""
    jobs = set(re.findall(r"cronjob[/ ]([a-z-]+)", TEXT))
    assert jobs == set(of_kind(OBJECTS, "CronJob"))
    (redis,) = of_kind(OBJECTS, "StatefulSet").values()
    (data,) = redis["spec"]["volumeClaimTemplates"]
    own = f"{data['metadata']['name']}-{redis['metadata']['name']}-0"
    claims = set(re.findall(r"claim `([a-z0-9-]+)`", TEXT))
    assert claims == {own, *of_kind(OBJECTS, "PersistentVolumeClaim")}


def test_routes_exist() -> None:
    """Every path that the text asks is one of the API's."""
    routes = {route.path for module in ROUTERS for route in module.router.routes}
    named = {
        path.replace("{id}", "{user_id}")
        for path in re.findall(r"`(?:[A-Z]+ )?(/(?:v1/|livez|readyz|metrics)[^`]*)`", TEXT)
    }
    assert named <= routes
    assert {"/livez", "/readyz", "/metrics"} <= named


def test_redis_settings_are_the_configuration() -> None:
    """Every setting of Redis that the text explains is in redis.conf as it says."""
    conf = (K8S / "base" / "redis.conf").read_text(encoding="utf-8")
    for setting in ("appendonly yes", "appendfsync everysec", "maxmemory-policy volatile-lru"):
        assert f"| `{setting}` |" in TEXT
        assert f"\n{setting}\n" in conf


def test_times_are_the_code() -> None:
    """The age of what a pod remembers of a user is what the text says."""
    assert f"{MAX_AGE_S / 60:.0f} minutes old" in TEXT
