"""Headless Chromium by its debugging protocol: a page with somebody's cookies, scripts on it, and its picture."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from websockets.sync.client import ClientConnection, connect

FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures"
MAX_BYTES, WIDTH, COLORS = 250_000, 1400, 256
NO_BROWSER = "There is no Chromium on this machine; install one (Debian: apt-get install chromium)."
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Browser:
    """One page of a browser of our own; ``with`` starts it, and stops what it started by its process id."""

    def __init__(self, width: int = 1400, height: int = 1000) -> None:
        self._size, self._numbers = (width, height), itertools.count(1)

    @staticmethod
    def program() -> str | None:
        """The browser of this machine; None where there is none."""
        return next(filter(None, map(shutil.which, NAMES)), None)

    def __enter__(self) -> Browser:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        program = self.program()
        assert program, "there is no Chromium on this machine"
        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += ["--mute-audio"]
        command += [f"--user-data-dir={self._folder.name}", "--remote-debugging-port=0", "--hide-scrollbars"]
        command += [f"--window-size={self._size[0]},{self._size[1]}", "--autoplay-policy=no-user-gesture-required"]
        self._process = subprocess.Popen([*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._socket = self._connected()
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session: str | None = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._folder.cleanup()

    def _connected(self) -> ClientConnection:
        self._session = None
        assert self._process.stderr
        for line in self._process.stderr:
            if b"DevTools listening on " in line:
                return connect(line.decode().split()[-1], max_size=None, open_timeout=60)
        raise SystemExit("Chromium did not start")

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                found: dict[str, Any] = answer["result"]
                return found

    def cookies(self, url: str, cookies: Mapping[str, str]) -> None:
        """Be somebody at ``url``."""
        for name, value in cookies.items():
            self._call("Network.setCookie", name=name, value=value, url=url)

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """What an expression comes to on the page."""
        return self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def until(self, script: str, seconds: float = 60.0) -> None:
        """Wait until an expression is true on the page."""
        end = time.monotonic() + seconds
        while not self.value(script):
            assert time.monotonic() < end, f"{script} did not come true in {seconds:g} s"
            time.sleep(0.3)

    def picture(self, path: Path) -> None:
        """Save what the page shows as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))


def saved(picture: Path, name: str, box: tuple[int, int, int, int] | None = None) -> None:
    """A picture of a page into docs/figures, small enough for a repository."""
    image = Image.open(picture).convert("RGB").crop(box)
    image.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    FIGURES.mkdir(exist_ok=True)
    target = FIGURES / f"{name}.png"
    # the octree keeps colors that are few among much gray
    image.quantize(COLORS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(target, optimize=True)
    size = target.stat().st_size
    assert size < MAX_BYTES, f"{target} has {size:,} bytes"
    print(f"{target.relative_to(FIGURES.parents[1])}: {image.width} x {image.height}, {size:,} bytes", flush=True)
