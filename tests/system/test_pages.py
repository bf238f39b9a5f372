"""The pages of a preparation in a real browser."""

import base64
import json
import time

import pytest

from nwt_jax.prepare import __main__ as prepare
from nwt_jax.prepare.examine.clip import REASONS
from nwt_jax.prepare.review import manifest, pages
from tests import media
from tests.system.browser import browser, press, requests, run

pytestmark = pytest.mark.system
DOWN, UP = "\ue015", "\ue013"


def test_review_and_report_in_a_browser(tmp_path):
  for seed in range(4):
    media.clip(tmp_path / "in" / f"c{seed}.mp4", seed, 1.0)
  frames = media.pictures(8, 25)
  frames[12:] = 255 - frames[12:]
  media.record(tmp_path / "in" / "d <b>jump.mp4", frames, media.speech(8, 1.0))
  options = {"pattern": str(tmp_path / "in"), "height": 16, "width": 16, "faces": False}
  prepare.prepare(tmp_path / "out", stop_after="examine", **options)
  with browser(tmp_path) as send:
    send("POST", "/url", {"url": (tmp_path / "out.work" / pages.REVIEW).as_uri()})
    state = lambda: run(send, "return document.getElementById('state').textContent")
    assert state() == "clip 1 of 5; 0 kept, 0 dropped, 5 undecided"
    press(send, ["k", "d", "2"])  # keep c0, drop c1, drop c2 for the second reason
    assert state() == "clip 4 of 5; 1 kept, 2 dropped, 2 undecided"
    press(send, [UP, UP, "u"])  # back to c1: undecided
    assert state() == "clip 2 of 5; 1 kept, 1 dropped, 3 undecided"
    press(send, ["f"])  # flagged ones only
    hidden = run(send, "return [...document.querySelectorAll('.clip')].map(clip => clip.hidden)")
    assert hidden == [True, True, True, True, False]
    press(send, ["d", "f", DOWN])
    names = run(send, "return [...document.querySelectorAll('.clip b')].map(name => name.textContent)")
    assert names[-1] == "d <b>jump"
    run(send, "document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    for _ in range(100):
      widths = run(send, "return [...document.querySelectorAll('img')].map(image => image.naturalWidth)")
      if all(widths):
        break
      time.sleep(0.05)
    assert len(widths) == 5 and min(widths) > 500  # strips of eight pictures
    (tmp_path / "review.png").write_bytes(base64.b64decode(send("GET", "/screenshot")))
    press(send, ["s"])
    saved = tmp_path / "decisions.json"
    for _ in range(100):
      if saved.exists():
        break
      time.sleep(0.05)
    send("POST", "/refresh", {})
    assert state().endswith("1 kept, 2 dropped, 2 undecided")  # the page remembers
    made = prepare.prepare(tmp_path / "out", decisions=saved, **options)
    rows = {row["name"]: row for row in manifest.read(tmp_path / "out" / manifest.NAME)}
    assert {name for name, row in rows.items() if not row["kept"]} == {"c2", "d <b>jump"}
    assert rows["c2"]["reason"] == REASONS[1] and sum(made["splits"].values()) == 3
    assert json.loads(saved.read_text())["c0"] == {"keep": True, "reason": ""}
    send("POST", "/url", {"url": (tmp_path / "out" / pages.REPORT).as_uri()})
    text = run(send, "return document.body.innerText")
    assert "d <b>jump" in text and REASONS[1] in text and "left out\t2" in text
    (tmp_path / "report.png").write_bytes(base64.b64decode(send("GET", "/screenshot")))
    assert [address for address in requests(send) if address.startswith(("http:", "https:", "ws:", "wss:"))] == []
