"""A real Chromium, driven by the DevTools protocol: what a person sees, and what they do with mouse and keyboard."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.system import wait_until
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # containers run as root
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-port=0",
)
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), " ": (32, " ")}

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=f"there is no Chromium ({', '.join(NAMES)})")


class Page:
    """A tab. `errors`: what its scripts threw, and what its policy refused."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = count(1)
        self.errors: list[str] = []
        for domain in ("Runtime", "Log", "Page", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; what it returns."""
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=30))
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        if message["method"] == "Runtime.exceptionThrown":
            details = message["params"]["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif message["method"] == "Log.entryAdded":
            entry = message["params"]["entry"]
            if entry["level"] == "error" and entry["source"] != "network":
                self.errors.append(entry["text"])

    def resize(self, width: int, height: int) -> None:
        """Look at it in a window of this size, in pixels."""
        size = {"width": width, "height": height}
        self.send("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=False)

    def prefer(self, dark: bool, moving: bool = False) -> None:
        """Look at it in a dark or a light scheme; `moving`: without asking for less motion."""
        preferences = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "no-preference" if moving else "reduce",
        }
        features = [{"name": name, "value": value} for name, value in preferences.items()]
        self.send("Emulation.setEmulatedMedia", features=features)

    # -- what a person does -----------------------------------------------------------------------------------------

    def open(self, url: str) -> Page:
        """Go there."""
        assert "errorText" not in self.send("Page.navigate", url=url)
        wait_until(lambda: self.evaluate("document.readyState") == "complete", f"{url} is loaded")
        return self

    def click(self, selector: str) -> None:
        """Click into the middle of an element, once it is at rest."""
        place = self.evaluate(
            f"""(async () => {{
              const found = document.querySelector({json.dumps(selector)});
              if (!found) return null;
              const place = () => {{
                found.scrollIntoView({{block: "center", inline: "center"}});
                const {{x, y, width, height}} = found.getBoundingClientRect();
                return {{x: x + width / 2, y: y + height / 2}};
              }};
              for (let at = place(), rests = 0; ; ) {{
                await new Promise(requestAnimationFrame);
                const next = place();
                rests = next.x === at.x && next.y === at.y ? rests + 1 : 0;
                if (rests === 3) return next;
                at = next;
              }}
            }})()"""
        )
        assert place, f"nothing is {selector}"
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def write(self, selector: str, text: str) -> None:
        """Put text into a field, as if pasted."""
        self.click(selector)
        self.send("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press a key, wherever the focus is."""
        code, text = KEYS[key]
        said = {"key": key, "code": key.strip() or "Space", "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", **said, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **said)

    # -- what a person sees --------------------------------------------------------------------------------

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, awaited."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """The text of an element as it is shown; empty where there is none."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def texts(self, selector: str) -> list[str]:
        """The texts of all such elements."""
        found: list[str] = self.evaluate(
            f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.textContent)"
        )
        return found

    def await_text(self, selector: str, text: str, seconds: float = 15.0) -> None:
        """Until an element shows this text."""
        wait_until(
            lambda: text in self.text(selector), f"{selector} shows {text!r}, not {self.text(selector)!r}", seconds
        )

    def screenshot(self, path: Path) -> None:
        """Keep what is in view as a picture."""
        shot = self.send("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))


class Browser:
    """A running Chromium."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def page(self, width: int = 1280, height: int = 900, dark: bool = False, moving: bool = False) -> Iterator[Page]:
        """A tab of this size, in a light or dark scheme; `moving`: who looks at it hasn't asked for less motion."""
        opened = httpx.put(f"{self._url}/json/new?about:blank", timeout=30.0).json()
        with connect(opened["webSocketDebuggerUrl"], max_size=None, proxy=None) as connection:
            page = Page(connection)
            page.resize(width, height)
            page.prefer(dark, moving)
            yield page
        httpx.get(f"{self._url}/json/close/{opened['id']}", timeout=30.0)


@contextmanager
def chromium(directory: Path, *options: str) -> Iterator[Browser]:
    """A Chromium with a profile of its own in this directory."""
    assert CHROMIUM is not None
    port = directory / "DevToolsActivePort"
    with (directory / "chromium.txt").open("w") as log:
        process = subprocess.Popen(
            [CHROMIUM, *OPTIONS, *options, f"--user-data-dir={directory}"], stdout=log, stderr=log
        )
    try:
        wait_until(lambda: port.exists() and port.read_text().strip(), "Chromium listens", 60)
        yield Browser(f"http://127.0.0.1:{port.read_text().split()[0]}")
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The Chromium of all tests that need one; they are in one group, so that there is one."""
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running
