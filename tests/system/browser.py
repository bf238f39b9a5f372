"""A real browser without a screen: Debian's Chromium through its ChromeDriver, in the W3C WebDriver protocol."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

FLAGS = (
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--window-size=1100,900",
)  # fmt: skip


@contextlib.contextmanager
def browser(folder):
  """Yields send(method, path, body) -> value. Args: folder: for the profile and what is downloaded."""
  programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
  if not all(programs):
    pytest.skip("apt-get install chromium chromium-driver to test pages in a browser")
  with socket.create_server(("127.0.0.1", 0)) as server:
    port = server.getsockname()[1]
  driver = subprocess.Popen([programs[1], f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  root = f"http://127.0.0.1:{port}"

  def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(root + path, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
      return json.load(answer)["value"]

  try:
    for _ in range(100):
      with contextlib.suppress(urllib.error.URLError, ConnectionError):
        if call("GET", "/status")["ready"]:
          break
      time.sleep(0.1)
    options = {
      "binary": programs[0],
      "args": [*FLAGS, f"--user-data-dir={folder / 'profile'}"],
      "prefs": {"download.default_directory": str(folder), "download.prompt_for_download": False},
    }
    logs = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL"}}
    session = call("POST", "/session", {"capabilities": {"alwaysMatch": logs}})["sessionId"]
    yield lambda method, path, body=None: call(method, f"/session/{session}{path}", body)
    call("DELETE", f"/session/{session}")
  finally:
    driver.terminate()
    driver.wait()


def press(send, keys):
  """Presses keys one after another."""
  actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
  send("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})


def run(send, script):
  """What a script returns."""
  return send("POST", "/execute/sync", {"script": script, "args": []})


def requests(send):
  """Addresses that the page asked for."""
  entries = [json.loads(entry["message"])["message"] for entry in send("POST", "/se/log", {"type": "performance"})]
  return [e["params"]["request"]["url"] for e in entries if e["method"] == "Network.requestWillBeSent"]
