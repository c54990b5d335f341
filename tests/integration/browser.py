"""A headless Chromium that opens one page, and tells how wide it is and what it complains about."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PATIENCE = 60.0


@dataclass
class Browser:
    """Speaks the DevTools protocol on a pair of pipes: JSON, with a NUL after each message."""

    asks: int
    answers: int
    session: str | None = None
    number: int = 0
    rest: bytes = b""
    events: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        self.number += 1
        message: dict[str, object] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.asks, json.dumps(message).encode() + b"\0")
        for said in self._said():
            if said.get("id") == self.number:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result
            self.events.append(said)
        raise AssertionError(f"{method}: no answer")

    def wait(self, event: str) -> None:
        if any(said.get("method") == event for said in self.events):
            return
        for said in self._said():
            self.events.append(said)
            if said.get("method") == event:
                return

    def _said(self) -> Iterator[dict[str, Any]]:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            while b"\0" in self.rest:
                message, self.rest = self.rest.split(b"\0", 1)
                yield json.loads(message)
            chunk = os.read(self.answers, 1 << 16)
            assert chunk, "the browser has gone"
            self.rest += chunk
        raise AssertionError("the browser does not answer")

    def measure(self, script: str) -> Any:
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def complaints(self) -> list[str]:
        """Return every error and warning of the page, and every request but the one for itself."""
        found = []
        for said in self.events:
            parameters = said.get("params", {})
            if said.get("method") == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(parameters["entry"]["text"])
            elif said.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
                found.append(json.dumps(parameters))
            elif said.get("method") == "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                if not url.startswith(("file://", "data:")):
                    found.append(url)
        return found


@contextmanager
def opened(file: Path, scratch: Path, width: int, *, dark: bool = False) -> Iterator[Browser]:
    """Open a file in a window of this width for as long as the block runs."""
    their_asks, asks = os.pipe()
    answers, their_answers = os.pipe()
    line = f'exec "$@" 3<&{their_asks} 4>&{their_answers}'
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={scratch}", "--remote-debugging-pipe")
    with subprocess.Popen(
        ["bash", "-c", line, "chromium", "chromium", *options],
        pass_fds=(their_asks, their_answers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(their_asks)
        os.close(their_answers)
        try:
            browser = Browser(asks, answers)
            target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
            browser.session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                browser.ask(f"{domain}.enable")
            browser.ask("Emulation.setDeviceMetricsOverride", width=width, height=740, deviceScaleFactor=1, mobile=True)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            browser.ask("Emulation.setEmulatedMedia", features=[scheme])
            browser.ask("Page.navigate", url=file.as_uri())
            browser.wait("Page.loadEventFired")
            yield browser
        finally:
            os.close(asks)
            os.close(answers)
            process.terminate()
