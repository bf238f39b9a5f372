"""The folder of compiled programs: whose it is, what its name says, when there is none, and that it stays bounded."""

import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from nwt_jax import compilation_cache


@pytest.fixture
def user(tmp_path, monkeypatch):
  """A user with an empty home and no variable of ours. Returns: the home."""
  for name in (compilation_cache.FOLDER, compilation_cache.SECONDS, "XDG_CACHE_HOME"):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.setattr(compilation_cache.sys, "platform", "linux")
  return tmp_path


def test_programs_are_kept_in_the_users_cache_folder(user, monkeypatch):
  compilation_cache.keep()
  folder = Path(os.environ[compilation_cache.FOLDER])
  assert folder.parent == user / ".cache" / "nwt_jax" and folder.name.startswith("jax-")
  assert folder.stat().st_mode & 0o777 == 0o700
  assert compilation_cache.status() == ("ok", f"0 programs, 0.0 MB in {folder}")
  monkeypatch.delenv(compilation_cache.FOLDER)
  monkeypatch.setenv("XDG_CACHE_HOME", str(user / "elsewhere"))
  assert compilation_cache.choose().parent == user / "elsewhere" / "nwt_jax"
  monkeypatch.setenv("XDG_CACHE_HOME", "relative")
  assert compilation_cache.choose() == folder
  monkeypatch.setattr(compilation_cache.sys, "platform", "darwin")
  monkeypatch.delenv("XDG_CACHE_HOME")
  assert compilation_cache.choose().parent == user / "Library" / "Caches" / "nwt_jax"


def test_the_users_own_folder_counts(user, monkeypatch):
  monkeypatch.setenv(compilation_cache.FOLDER, "/somewhere")
  compilation_cache.keep()
  assert os.environ[compilation_cache.FOLDER] == "/somewhere" and compilation_cache.SECONDS not in os.environ
  assert not list(user.iterdir())


def test_another_cpu_another_jax_and_another_number_of_cores_have_another_folder(user, monkeypatch):
  names = {compilation_cache.name()}
  monkeypatch.setattr(compilation_cache, "cpu", lambda: ["flags : sse2"])
  names.add(compilation_cache.name())
  monkeypatch.setattr(compilation_cache.importlib.metadata, "version", lambda _: "9.9")
  names.add(compilation_cache.name())
  monkeypatch.setattr(compilation_cache.os, "sched_getaffinity", lambda _: {1, 2, 3, 4, 5, 6, 7}, raising=False)
  names.add(compilation_cache.name())
  assert len(names) == 4


def no_home(user, monkeypatch):
  monkeypatch.setenv("HOME", "/")


def home_is_a_file(user, monkeypatch):
  (user / "file").touch()
  monkeypatch.setenv("HOME", str(user / "file"))


def no_room(user, monkeypatch):
  monkeypatch.setattr(
    compilation_cache.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=compilation_cache.ROOM - 1)
  )


def read_only(user, monkeypatch):
  monkeypatch.setattr(compilation_cache.os, "access", lambda *_: False)


def others_may_write(user, monkeypatch):
  folder = compilation_cache.choose()
  folder.chmod(0o777)


def of_another_user(user, monkeypatch):
  monkeypatch.setattr(compilation_cache.os, "getuid", lambda: 12345)


@pytest.mark.parametrize("break_it", [no_home, home_is_a_file, no_room, read_only, others_may_write, of_another_user])
def test_without_a_safe_folder_nothing_is_kept_and_only_the_doctor_says_so(user, monkeypatch, capfd, break_it):
  break_it(user, monkeypatch)
  compilation_cache.keep()
  assert compilation_cache.FOLDER not in os.environ
  assert capfd.readouterr() == ("", "")
  mark, text = compilation_cache.status()
  assert mark == "warn" and f"set {compilation_cache.FOLDER} to a folder" in text


def test_the_doctor_looks_at_the_users_own_folder(user, monkeypatch, tmp_path):
  (tmp_path / "file").touch()
  for told, mark in ((tmp_path / "new", "ok"), (tmp_path / "file", "warn"), ("gs://bucket/x", "ok"), ("", "warn")):
    monkeypatch.setenv(compilation_cache.FOLDER, str(told))
    assert compilation_cache.status()[0] == mark, told
  monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
  assert compilation_cache.status()[0] == "warn"


def test_what_was_not_used_for_longest_goes_first(tmp_path):
  for age, name in enumerate(("new", "middle", "old")):
    path = tmp_path / f"jax-{name}" / "program-cache"
    path.parent.mkdir()
    path.write_bytes(b"x" * 100)
    os.utime(path, (1e9 - 100 * age, 1e9 - 100 * age))
  os.utime(tmp_path / "jax-old" / "program-cache", (2e9, 1e9 - 200))  # written long ago, and read today
  compilation_cache.clear(tmp_path, 250)
  assert sorted(path.parent.name for path in tmp_path.rglob("*-cache")) == ["jax-new", "jax-old"]
  compilation_cache.clear(tmp_path, 0)
  assert not list(tmp_path.rglob("*-cache"))


PROGRAM = """
import sys
from nwt_jax import cli
def main(argv):
  import jax
  import jax.numpy as jnp
  hits = []
  jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
  f = jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x).T)
  print(float(f(jnp.ones((8, 8)))[0, 0]), "/jax/compilation_cache/cache_hits" in hits)
cli.run(main)
"""


def test_a_second_start_takes_the_programs_of_the_first_and_a_torn_one_is_compiled_in_silence(tmp_path):
  env = {k: v for k, v in os.environ.items() if k != compilation_cache.FOLDER}
  env |= {"XDG_CACHE_HOME": str(tmp_path), compilation_cache.SECONDS: "0"}

  def run():
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()

  value, hit = run()
  assert hit == "False"
  assert run() == [value, "True"]
  for path in tmp_path.rglob("*-cache"):
    path.write_bytes(path.read_bytes()[:50])
  assert run() == [value, "False"]
  shutil.rmtree(tmp_path / "nwt_jax")
  assert run() == [value, "False"]
