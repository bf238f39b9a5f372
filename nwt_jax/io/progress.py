"""One line that tells how far long work is, how fast, and how long it will take."""

import sys
import time


class Progress:
  """Counts finished items and writes a line to stderr: rewritten in place on a terminal, else one every ten seconds.

  What comes before the first result is no measure of what is left: compiling, the start of worker processes. Until that
  result the line says so; rate and time left count from it on.

  Args: title: what is being done. total: items. unit: their name. first: what the first result waits for.
  """

  def __init__(self, title: str, total: int, unit: str = "clips", first: str = "starting"):
    self.title, self.total, self.unit, self.first = title, total, unit, first
    self.done = 0
    self._began = self._last = time.monotonic()
    self._start = None  # (time, items made) of the first result
    self._made = 0
    self._live = sys.stderr.isatty()
    if total:
      self._write(self._began)

  def step(self, count: int = 1, known: bool = False) -> None:
    """More items are done. Args: count: how many came together. known: they were there, from an earlier call."""
    if not count:
      return
    self.done += count
    now = time.monotonic()
    if not known:
      self._made += count
      self._start = self._start or (now, self._made)
    if now - self._last >= (0.2 if self._live else 10) or (self._live and self.done == self.total):
      self._last = now
      self._write(now)

  def log(self, text: str) -> None:
    """Writes a line of its own, for example about one item."""
    print(("\r\033[K" if self._live else "") + text, file=sys.stderr, flush=True)

  def close(self) -> None:
    """Writes what it took, the start included."""
    self.log(f"{self.title}: {self.done} {self.unit} in {_clock(time.monotonic() - self._began)}")

  def _rate(self, now):
    """The rate since the first result, and the time left by it; nothing before there is one to go by."""
    if self._start is None:
      return ""
    since, before = self._start
    if self._made == before or now <= since:
      return ""
    rate, left = (self._made - before) / (now - since), self.total - self.done
    return f", {60 * rate:.1f} a minute" + (f", {_clock(left / rate)} left" if left else "")

  def _write(self, now):
    waiting = f" ({self.first})" if self._start is None else ""
    line = f"{self.title}: {self.done}/{self.total} {self.unit}{waiting}{self._rate(now)}"
    again = self._live and self.done < self.total  # the last one stays
    print("\r\033[K" + line if self._live else line, file=sys.stderr, end="" if again else "\n", flush=True)


def _clock(seconds):
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
