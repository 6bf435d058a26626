"""A real Chromium for tests, driven over its own protocol (CDP) on a web socket.

No driver program and no downloads: the browser on the PATH, a new profile, no background traffic.
"""

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import connect

from tests.recsvc.redis_server import DEADLINE_S, eventually

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-proxy-server", "--remote-debugging-port=0",
)  # fmt: skip


def find_browser() -> str | None:
    """The first Chromium on the PATH."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One browser with one page.

    Args:
        executable: of a Chromium.
        width: of the page in CSS pixels.
        height: the same.
    """

    def __init__(self, executable: str, width: int = 1280, height: int = 900) -> None:
        self._executable = executable
        self._size = f"--window-size={width},{height}"
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.complaints: list[str] = []
        """Console errors, uncaught exceptions, policy violations, failed loads; oldest first."""

    def __enter__(self) -> "Browser":
        with ExitStack() as stack:
            profile = tempfile.TemporaryDirectory(prefix="recsvc-b-", ignore_cleanup_errors=True)
            home = Path(stack.enter_context(profile))
            self._process = subprocess.Popen(
                [self._executable, *_OPTIONS, self._size, f"--user-data-dir={home}", "about:blank"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(self._end)
            port, path = eventually(lambda: self._address(home), "the browser names its port")
            address = f"ws://127.0.0.1:{port}{path}"
            # No bound on its queue: one that is full is not read, and then closing waits in vain.
            socket = connect(address, max_size=None, max_queue=None, proxy=None)
            self._socket = stack.enter_context(socket)
            self._attach()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; its result.

        Raises:
            AssertionError: the browser refuses it.
        """
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        deadline = time.monotonic() + DEADLINE_S
        while True:
            answer = json.loads(self._socket.recv(timeout=max(0.0, deadline - time.monotonic())))
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def open(self, url: str) -> None:
        """Go to an address and wait until it is read."""
        self.send("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href.startsWith({url!r})")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is waited for."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, (expression, answer)
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until the expression is true."""
        eventually(lambda: self.evaluate(f"Boolean({condition})"), condition)

    def click(self, selector: str) -> None:
        """Press the left button in the middle of the first element that matches."""
        x, y = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """A key on whatever has the focus; "Enter" or "Tab"."""
        code = {"Enter": 13, "Tab": 9}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", **pressed, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def screenshot(self, path: Path) -> None:
        """Write what is seen as a PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))

    def _address(self, home: Path) -> list[str] | None:
        assert self._process.poll() is None, "the browser ended before it could be used"
        try:
            lines = (home / "DevToolsActivePort").read_text().split()
        except FileNotFoundError:
            return None
        return lines if len(lines) == 2 else None

    def _attach(self) -> None:
        """Talk to the page from now on, and hear what it complains of."""
        pages = self.send("Target.getTargets")["targetInfos"]
        page = next(p["targetId"] for p in pages if p["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=DEADLINE_S)

    def _note(self, event: dict[str, Any]) -> None:
        parameters: dict[str, Any] = event.get("params", {})
        match event.get("method"), parameters:
            case "Runtime.exceptionThrown", {"exceptionDetails": details}:
                self.complaints.append(json.dumps(details))
            case "Runtime.consoleAPICalled", {"type": "error" | "warning" | "assert"}:
                self.complaints.append(json.dumps(parameters["args"]))
            case "Log.entryAdded", {"entry": {"level": "error" | "warning"}}:
                entry = parameters["entry"]
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}".strip())
