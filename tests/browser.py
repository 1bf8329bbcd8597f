"""A real headless Chromium for tests, spoken to over its own pipe: what a page looks like to a reader, without a driver to install."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (found := shutil.which(name))), None)
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# The lowest contrast of any visible text with the nearest ground behind it, and that text.
CONTRAST = """
(() => {
  const light = c => { const p = c.map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * p[0] + 0.7152 * p[1] + 0.0722 * p[2]; };
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const ground = el => { for (; el; el = el.parentElement) { const c = rgb(getComputedStyle(el).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  let worst = [99, ''];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const el = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
    if (!text || ['SCRIPT', 'STYLE', 'TITLE', 'title', 'desc'].includes(el.tagName) || !el.getClientRects().length) continue;
    const style = getComputedStyle(el), svg = el.namespaceURI.endsWith('svg');
    const [a, b] = [light(rgb(svg ? style.fill : style.color)), light(ground(el))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, text];
  }
  return worst;
})()
"""


class Browser:
    """One page of one browser. Use it as a context."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM
        (theirs_in, self._out), (self._in, theirs_out) = os.pipe(), os.pipe()

        def hand_over() -> None:  # the browser reads from 3 and writes to 4
            first, second = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(first, 3)
            os.dup2(second, 4)

        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(command, preexec_fn=hand_over, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = ""
        self._send("Browser.close", {})
        self._process.wait(20)
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        number = self._send(method, given)
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, path: Path, width: int, dark: bool = False, scripts: bool = True) -> None:
        """Loads a file at a width, as a reader with this screen sees it."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())

    def value(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    @property
    def complaints(self) -> list[str]:
        """What the page asked the network for, and what the browser said about it: errors, refused scripts, dialogs."""
        asked = [event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        said = [event["params"]["entry"]["text"] for event in self.events if event["method"] == "Log.entryAdded"]
        thrown = [event["method"] for event in self.events if event["method"] in ("Runtime.exceptionThrown", "Page.javascriptDialogOpening")]
        return [*asked[1:], *said, *thrown]

    def _send(self, method: str, given: dict[str, Any]) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": given} | ({"sessionId": self._session} if self._session else {})
        os.write(self._out, json.dumps(message).encode() + b"\0")
        return self._number

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            read = os.read(self._in, 1 << 16)
            assert read, "the browser has gone"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
