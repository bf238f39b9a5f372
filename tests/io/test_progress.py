"""The progress line: time left by what is done after the start, never by the start itself."""

import types

import pytest

from nwt_jax.io import progress


@pytest.fixture
def clock(monkeypatch):
  """A clock that stands still until told. Returns: a list whose only item is the time."""
  now = [100.0]
  monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
  return now


class Terminal:
  def __init__(self, live):
    self.text, self.live = "", live

  def isatty(self):
    return self.live

  def write(self, text):
    self.text += text

  def flush(self):
    pass

  def lines(self):
    return [line for line in self.text.replace("\r\033[K", "\n").splitlines() if line]


@pytest.fixture(params=[True, False])
def terminal(request, monkeypatch):
  found = Terminal(request.param)
  monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=found))
  return found


def test_compiling_does_not_count(clock, terminal):
  bar = progress.Progress("sample", 128, "frames", "compiling")
  clock[0] += 60  # one minute of compilation
  bar.step(32)
  assert terminal.lines()[-1] == "sample: 32/128 frames"  # nothing to go by yet
  clock[0] += 16
  bar.step(32)
  assert terminal.lines()[-1] == "sample: 64/128 frames, 120.0 a minute, 0:32 left"
  clock[0] += 32
  bar.step(64)
  assert terminal.lines()[-1] == "sample: 128/128 frames, 120.0 a minute"
  assert terminal.lines()[:-3] == ["sample: 0/128 frames (compiling)"]


def test_what_an_earlier_call_made_does_not_count(clock, terminal):
  bar = progress.Progress("examine", 1000)
  bar.step(900, known=True)
  clock[0] += 20  # workers start
  bar.step()
  for _ in range(9):
    clock[0] += 10
    bar.step()
  assert terminal.lines()[-1] == "examine: 910/1000 clips, 6.0 a minute, 15:00 left"
  bar.close()
  assert terminal.lines()[-1] == "examine: 910 clips in 1:50"


def test_nothing_to_do_is_no_division_by_zero(clock, terminal):
  bar = progress.Progress("examine", 0)
  bar.step(0, known=True)
  bar.close()
  assert terminal.lines() == ["examine: 0 clips in 0:00"]
