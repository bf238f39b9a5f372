"""The progress line of training: rate and time left without compilation, with the pauses to come."""

import json
import re

import pytest

from nwt_jax.train.runtime import logging


@pytest.fixture
def clock(monkeypatch):
  """A clock that stands still until told. Returns: a list whose only item is the time."""
  now = [100.0]
  monkeypatch.setattr(logging.time, "monotonic", lambda: now[0])
  return now


def test_compilation_and_pauses_do_not_change_the_rate_and_pauses_to_come_count(clock, tmp_path, capsys):
  first = 40  # a resumed run
  with logging.MetricsWriter(tmp_path, 100, True) as writer:

    def line(step):
      writer.write(step, {"loss/fit": 1.0}, ("loss/fit",))
      return capsys.readouterr().out.strip()

    clock[0] += 600  # compiling
    writer.pace.begin(first + 1)
    writer.pace.expect("saving", 10)
    writer.pace.expect("evaluating", 50)
    assert line(41) == "step 41/100  fit 1"
    clock[0] += 18
    assert line(50) == "step 50/100  0.5 steps/s  1 m 40 s left without saving and evaluating  fit 1"
    with writer.pace.pause("saving", 10):
      clock[0] += 3
    with writer.pace.pause("evaluating", 50):
      clock[0] += 1000
    clock[0] += 20
    # 40 steps of 2 s; the first time of either pause may have compiled, and says nothing of those to come
    assert line(60) == "step 60/100  0.5 steps/s  1 m 20 s left without saving and evaluating  fit 1"
    with writer.pace.pause("saving", 10):
      clock[0] += 4
    clock[0] += 80
    # One more save, and one more evaluation of unknown length
    assert line(100) == "step 100/100  0.5 steps/s  4 s left without evaluating  fit 1"
  rows = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
  assert [row.get("speed/steps_per_second") for row in rows] == [None, 0.5, 0.5, 0.5]


def test_the_last_evaluation_is_due_where_the_rhythm_does_not_divide_the_steps(clock):
  pace = logging.Pace(25)
  pace.begin(1)
  for seconds in (300, 5):
    with pace.pause("evaluating", 10):
      clock[0] += seconds
  clock[0] += 11
  assert pace.read(12) == (1.0, 13 + 2 * 5, [])  # after 20 and 25


def test_training_says_that_it_compiles_and_then_counts(tmp_path, capsys):
  from tests.faults.conftest import line_config, run_line

  run_line(tmp_path / "run", line_config(6))
  out = capsys.readouterr().out
  assert "compiling the first step ..." in out
  assert re.search(r"^step 1/6  fit", out, re.MULTILINE) and re.search(r"^step 2/6  \S+ steps/s", out, re.MULTILINE)
