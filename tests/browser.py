"""Headless Chromium: what a browser makes of a page. Tests with it skip where it is absent."""

import contextlib
import json
import os
import shutil
import subprocess

import pytest

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--virtual-time-budget=2000",
]  # fmt: skip
OWN = "not an origin"
needed = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium here")


def browse(path, folder, *flags, width=1200, height=900):
    """Opens a local page.

    Returns:
      What is said on standard output, and the addresses that the page asked for, beside files.
    """
    log = folder / "net.json"
    command = [
        PROGRAM, *QUIET, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}",
        f"--window-size={width},{height}", *flags, path.resolve().as_uri(),
    ]  # fmt: skip
    home = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True, env=home
    )
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    found = [one.get("params", {}) for one in events]
    # What the browser asks for on its own account has no page as its initiator.
    asked = {one["url"] for one in found if one.get("initiator", OWN) != OWN and "url" in one}
    return done.stdout, sorted(url for url in asked if url.startswith(("http", "ws")))


@contextlib.contextmanager
def driven():
    """A browser that is driven through the DevTools protocol, as Playwright's `Browser`.

    It is the machine's own Chromium: Playwright's are not downloaded.
    """
    from playwright.sync_api import sync_playwright

    flags = [flag for flag in QUIET if not flag.startswith(("--headless", "--virtual-time"))]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=PROGRAM, args=flags)
        try:
            yield chromium
        finally:
            chromium.close()
