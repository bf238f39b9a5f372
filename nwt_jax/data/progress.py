"""One line that tells how far long work is, how fast, and how long it will take."""

import sys
import time


class Progress:
  """Counts finished items and writes a line to stderr: rewritten in place on a terminal, else one every ten seconds.

  Args: title: what is being done. total: items. unit: their name.
  """

  def __init__(self, title, total, unit="clips"):
    self.title, self.total, self.unit = title, total, unit
    self.done = 0
    self._start = self._last = time.monotonic()
    self._live = sys.stderr.isatty()

  def step(self):
    """One more item is done."""
    self.done += 1
    now = time.monotonic()
    if now - self._last >= (0.2 if self._live else 10) or (self._live and self.done == self.total):
      self._last = now
      self._write()

  def say(self, text):
    """Writes a line of its own, for example about one item."""
    print(("\r\033[K" if self._live else "") + text, file=sys.stderr, flush=True)

  def close(self):
    """Writes what it took. Returns: items a second."""
    seconds = max(time.monotonic() - self._start, 1e-9)
    rate = self.done / seconds
    self.say(f"{self.title}: {self.done} {self.unit} in {_clock(seconds)}, {60 * rate:.1f} a minute")
    return rate

  def _write(self):
    rate = self.done / max(time.monotonic() - self._start, 1e-9)
    left = _clock((self.total - self.done) / rate)
    line = f"{self.title}: {self.done}/{self.total} {self.unit}, {60 * rate:.1f} a minute, {left} left"
    print("\r\033[K" + line if self._live else line, file=sys.stderr, end="" if self._live else "\n", flush=True)


def _clock(seconds):
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
