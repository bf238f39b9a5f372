"""Folders that cannot be written are refused with nothing made; a full disk is one line, whichever library met it."""

import errno
import shutil
import subprocess

import numpy as np
import pytest

from nwt_jax.errors import InputError
from nwt_jax.io import disk, image, release


@pytest.fixture
def full_disk(tmp_path):
  disk = tmp_path / "disk"
  disk.mkdir()
  if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", disk], capture_output=True).returncode:
    pytest.skip("mounting a small disk needs root")
  yield disk
  subprocess.run(["umount", "-l", disk], check=True)


def test_a_folder_that_can_be_made_is_not_made(tmp_path):
  disk.check_folder(tmp_path / "a" / "b", "output")
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["file", "file/below/it", "dangling"])
def test_what_cannot_be_a_folder_is_named_with_its_flag(tmp_path, name):
  (tmp_path / "file").touch()
  (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
  with pytest.raises(InputError, match=f"--workdir={tmp_path}/{name} .*give a folder"):
    disk.check_folder(tmp_path / name, "workdir")


def test_a_full_disk_is_told_by_its_number(full_disk):
  noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
  for write in (
    lambda: image.write_png(full_disk / "p" / "a.png", noise),
    lambda: release.save_release(full_disk / "r", "dvae", {"params": {"a": noise}}, {}),
  ):
    with pytest.raises(OSError) as error:
      write()
    assert error.value.errno == errno.ENOSPC and error.value.filename.startswith(str(full_disk))
    for made in full_disk.iterdir():
      shutil.rmtree(made)


def test_a_preparation_on_a_full_disk_ends_in_a_line(refused, full_disk):
  options = ["--talker=3", "--height=64", "--width=56", f"--output={full_disk}/out", "--workers=1"]
  assert "No space left on device; make room" in refused("prepare", *options).splitlines()[-1]


def test_a_network_drive_that_is_away_is_not_the_users_fault(tmp_path, monkeypatch):
  def away(**_):
    raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

  monkeypatch.setattr(disk.tempfile, "TemporaryFile", away)
  with pytest.raises(OSError, match="not connected") as error:
    disk.check_folder(tmp_path, "workdir")
  assert not isinstance(error.value, ValueError)


def test_another_error_stays_what_it_is(tmp_path):
  with pytest.raises(ZeroDivisionError), disk.writing(tmp_path / "file"):
    raise ZeroDivisionError
