"""Preparation in Apache Beam gives what this machine's processes give."""

import importlib.util
import json

import pytest

from nwt_jax.prepare import __main__ as prepare
from nwt_jax.prepare.review import manifest
from tests import media

pytestmark = pytest.mark.system


def test_fault_41_one_and_two_beam_workers_write_the_same_records(tmp_path, start):
  if importlib.util.find_spec("apache_beam") is None:
    pytest.skip("pip install 'nwt_jax[beam]' to test preparation in a Beam pipeline")
  for seed in range(6):
    media.clip(tmp_path / "in" / f"c{seed}.mp4", seed, 1.0)
  media.record(tmp_path / "in" / "mute.mp4", media.pictures(9, 30), None)
  prepare.prepare(tmp_path / "local", pattern=str(tmp_path / "in"), height=16, width=16, faces=False)
  multi = "--direct_num_workers=2 --direct_running_mode=multi_processing"
  for name, options in (("one", "--runner=DirectRunner"), ("two", f"--runner=DirectRunner {multi}")):
    given = ["--height=16", "--width=16", "--faces=False", "--engine=beam", f"--beam_options={options}"]
    done = start("prepare", f"--input={tmp_path / 'in'}", f"--output={tmp_path / name}", *given)
    assert done.returncode == 0, done.stderr
    for file in sorted((tmp_path / "local" / "clips" / "1.0.0").iterdir()):
      assert (tmp_path / name / "clips" / "1.0.0" / file.name).read_bytes() == file.read_bytes(), file.name
    for file in ("index.json", "metadata.json", manifest.NAME):
      assert (tmp_path / name / file).read_text() == (tmp_path / "local" / file).read_text()
  assert json.loads((tmp_path / "two" / "metadata.json").read_text())["skipped"].keys() == {"mute"}
