"""Recordings from addresses, by the real downloader from a server on this machine (appendix D.1)."""

import functools
import http.server
import importlib.util
import threading

import pytest

from nwt_jax.prepare import __main__ as prepare
from nwt_jax.prepare.review import manifest
from tests import media

pytestmark = pytest.mark.system


def test_addresses_are_downloaded(tmp_path):
  if importlib.util.find_spec("yt_dlp") is None:
    pytest.skip("pip install 'nwt_jax[download]' to test downloads")
  media.clip(tmp_path / "site" / "talk.mp4", 1, 1.2)
  handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "site")
  handler.log_message = lambda *_: None
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{server.server_port}"
    (tmp_path / "list.txt").write_text(f"{root}/talk.mp4\n{root}/gone.mp4\n")
    made = prepare.prepare(tmp_path / "out", pattern=tmp_path / "list.txt", height=16, width=16, faces=False)
    server.shutdown()
  rows = {row["url"]: row for row in manifest.read(tmp_path / "out" / manifest.NAME)}
  assert rows[f"{root}/talk.mp4"]["kept"] and made["frames"]["train"] == 36
  assert not rows[f"{root}/gone.mp4"]["kept"] and "404" in rows[f"{root}/gone.mp4"]["reason"]
  assert len(list((tmp_path / "out.work" / "downloads").rglob("video.mp4"))) == 1
