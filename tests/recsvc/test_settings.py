"""Settings: where they come from, which source wins, and how a wrong one is refused."""

import os
from pathlib import Path

import pytest

from recsvc.errors import SettingsError
from recsvc.settings import Settings, mask_url


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting from the environment that the tests run in."""
    for name in list(os.environ):
        if name.upper().startswith("RECSVC_"):
            monkeypatch.delenv(name)


def write_config(monkeypatch: pytest.MonkeyPatch, path: Path, text: str) -> None:
    """Make a configuration file the one that is read."""
    path.write_text(text)
    monkeypatch.setenv("RECSVC_CONFIG", str(path))


def test_everything_has_a_default() -> None:
    """Without any source the settings are complete."""
    settings = Settings.load()
    assert (settings.partitions, settings.max_k, settings.redis_url) == (256, 1000, None)


def test_flags_win_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Flag, variable, file: the first that gives a value decides."""
    write_config(monkeypatch, tmp_path / "recsvc.toml", "port = 1\nworkers = 2\nmax_k = 3\n")
    monkeypatch.setenv("RECSVC_PORT", "11")
    monkeypatch.setenv("RECSVC_WORKERS", "22")
    settings = Settings.load({"port": 111, "workers": None})
    assert (settings.port, settings.workers, settings.max_k) == (111, 22, 3)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PARTITIONS", "0", r"RECSVC_PARTITIONS='0' is wrong: .*greater than or equal to 1"),
        ("MAX_K", "many", r"RECSVC_MAX_K='many' is wrong: .*valid integer"),
        ("REDIS_TIMEOUT_S", "nan", r"RECSVC_REDIS_TIMEOUT_S='nan' is wrong"),
        ("LOG_FORMAT", "xml", r"RECSVC_LOG_FORMAT='xml' is wrong: .*'console' or 'json'"),
        ("REDIS_APPENDFSYNC", "no", r"'everysec' or 'always'"),
        ("REDIS_URL", "http://x", r"RECSVC_REDIS_URL='http://x' is wrong: .*redis\+cluster://"),
        ("PORT", "tcp://10.0.0.1:80", r"RECSVC_PORT=.*enableServiceLinks: false"),
    ],
)
def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    """The message holds the variable, its value and what is allowed."""
    monkeypatch.setenv(f"RECSVC_{name}", value)
    with pytest.raises(SettingsError, match=message):
        Settings.load()


def test_a_wrong_flag_is_named() -> None:
    """A value from the command line is named by its flag."""
    with pytest.raises(SettingsError, match=r"--max-events-per-user=-1 is wrong"):
        Settings.load({"max_events_per_user": -1})


def test_all_wrong_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to start the service once per mistake."""
    monkeypatch.setenv("RECSVC_WORKERS", "0")
    with pytest.raises(SettingsError, match=r"--port=70000.*RECSVC_WORKERS|RECSVC_WORKERS.*--port"):
        Settings.load({"port": 70_000})


def test_a_wrong_value_in_the_file_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A value from the file is named by its key and the file."""
    write_config(monkeypatch, tmp_path / "recsvc.toml", "workers = 0\n")
    with pytest.raises(SettingsError, match=r"'workers' in .*recsvc\.toml=0 is wrong"):
        Settings.load()


def test_an_unknown_key_in_the_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A misspelt key is named, with the one that was meant."""
    write_config(monkeypatch, tmp_path / "recsvc.toml", "partitons = 8\n")
    with pytest.raises(SettingsError, match=r"'partitons' is no setting.*'partitions'"):
        Settings.load()


@pytest.mark.parametrize("text", ["port = ", "\x00\x01", None])
def test_an_unreadable_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None
) -> None:
    """No TOML, or no file at all: the message names the variable and the path."""
    path = tmp_path / "recsvc.toml"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("RECSVC_CONFIG", str(path))
    with pytest.raises(SettingsError, match=r"RECSVC_CONFIG=.*recsvc\.toml.*unset"):
        Settings.load()


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable would be ignored in silence; it is named instead."""
    monkeypatch.setenv("RECSVC_PARTITONS", "8")
    with pytest.raises(SettingsError, match=r"RECSVC_PARTITONS.*did you mean RECSVC_PARTITIONS"):
        Settings.load()


def test_what_kubernetes_adds_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that a pod gets for a Service called recsvc do not stop the start."""
    for name in ("RECSVC_SERVICE_HOST", "RECSVC_SERVICE_PORT_HTTP", "RECSVC_PORT_80_TCP_ADDR"):
        monkeypatch.setenv(name, "10.0.0.1")
    assert Settings.load().port == 8000


@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix", "redis+cluster", "rediss+cluster"])
def test_every_kind_of_redis_url_is_taken(scheme: str) -> None:
    """Single servers, sockets, clusters, with and without TLS."""
    assert Settings.load({"redis_url": f"{scheme}://host"}).redis_url == f"{scheme}://host"


def test_a_password_is_not_shown() -> None:
    """A wrong URL is named without the password in it."""
    with pytest.raises(SettingsError) as caught:
        Settings.load({"redis_url": "rdis://user:geheim@host"})
    assert "geheim" not in caught.value.detail
    assert "rdis://user:***@host" in caught.value.detail


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:secret@host", "redis://:***@host"),
        ("redis://user:sec:ret@host", "redis://user:***@host"),
        ("unix:///tmp/a:b@c/redis.sock", "unix:///tmp/a:b@c/redis.sock"),
    ],
)
def test_urls_are_masked(url: str, shown: str) -> None:
    """The password goes, everything else stays."""
    assert mask_url(url) == shown
