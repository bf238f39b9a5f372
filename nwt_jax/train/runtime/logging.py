"""Metrics of a run: JSON lines, TensorBoard event files, and a progress line with rate and time left."""

import contextlib
import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

FLUSH_SECONDS = 30  # between flushes of the event file


def format_seconds(seconds: float) -> str:
  """Formats a duration, as in "1 h 02 m", "3 m 20 s" or "12 s"."""
  seconds = int(max(seconds, 0))
  hours, minutes = seconds // 3600, seconds // 60 % 60
  return f"{hours} h {minutes:02d} m" if hours else f"{minutes} m {seconds % 60:02d} s" if minutes else f"{seconds} s"


class Events:
  """An event file of TensorBoard, written at once. tensorboardX would write it in a thread, which a full disk kills
  silently: its queue then fills, and the run hangs."""

  def __init__(self, folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    self._file = RecordWriter(str(folder / f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"))
    self._file.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    self._flushed = time.monotonic()

  def write(self, step: int, flat: dict[str, float]) -> None:
    """Writes one point of every curve."""
    values = [Summary.Value(tag=name, simple_value=value) for name, value in flat.items()]
    self._file.write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)).SerializeToString())
    if time.monotonic() - self._flushed > FLUSH_SECONDS:
      self._file.flush()
      self._flushed = time.monotonic()

  def close(self) -> None:
    self._file.close()


class Pace:
  """Estimates the speed of a run and the time left.

  Speed counts only updates, without the first, which compiles. Time left includes the pauses to come for saving and
  evaluating. A pause is expected to take the mean of those before it, without the first of its kind, which may compile
  too; until there is a second, pauses of that kind are left out and named."""

  def __init__(self, total_steps: int):
    self._total, self._began = total_steps, None
    self._paused, self._pauses = 0.0, {}  # seconds in all; (name, steps between them) -> seconds of each

  def expect(self, name: str, every: int) -> None:
    """Announces a kind of pause, which comes after every `every` updates and after the last."""
    self._pauses.setdefault((name, every), [])

  def begin(self, step: int) -> None:
    """Starts to count time; to be called when the first update of this process is done."""
    self._began = self._last = (self._now(), step)

  @contextlib.contextmanager
  def pause(self, name: str, every: int) -> Iterator[None]:
    """Excludes the time that is spent inside from the speed. Args: every: updates between two pauses of this name."""
    start = time.monotonic()
    yield
    seconds = time.monotonic() - start
    self._paused += seconds
    self._pauses.setdefault((name, every), []).append(seconds)

  def read(self, step: int) -> tuple[float, float, list[str]] | None:
    """Returns updates per second since the last call, seconds left, and the kinds of pause that these leave out.

    Before the first update is counted, it returns None."""
    if self._began is None or step <= self._last[1]:
      return None
    now, (since, before), (start, first) = self._now(), self._last, self._began
    self._last = (now, step)
    left, unknown = (self._total - step) * (now - start) / (step - first), []
    for (name, every), seconds in self._pauses.items():
      due = -(-self._total // every) - (step - 1) // every  # with the one after this step
      if later := seconds[1:]:
        left += due * sum(later) / len(later)
      elif due:
        unknown.append(name)
    return (step - before) / max(now - since, 1e-9), left, unknown

  def _now(self) -> float:
    return time.monotonic() - self._paused


class MetricsWriter:
  """Appends to WORKDIR/metrics.jsonl and WORKDIR/tensorboard, and prints a line; it does nothing unless `active`."""

  def __init__(self, workdir: Path, total_steps: int, active: bool):
    self._active, self._total, self._lost = active, total_steps, False
    self.pace = Pace(total_steps)
    if active:
      workdir.mkdir(parents=True, exist_ok=True)
      self._lines = open(workdir / "metrics.jsonl", "a", buffering=1)
      self._events = Events(workdir / "tensorboard")

  def write(self, step: int, metrics: dict, show: tuple[str, ...] = ()) -> dict[str, float]:
    """Writes scalars (a vector becomes one scalar an element) and returns them as floats. Args: show: names of the
    metrics in the progress line, which is printed where there are any."""
    flat = {}
    for name, value in metrics.items():
      value = np.asarray(value)
      flat.update({name: float(value)} if value.ndim == 0 else {f"{name}/{i}": float(v) for i, v in enumerate(value)})
    if not self._active:
      return flat
    pace = self.pace.read(step) if show else None
    if pace:
      flat["speed/steps_per_second"] = pace[0]
    # nan is no JSON: null says that a value was not finite
    finite = {name: value if np.isfinite(value) else None for name, value in flat.items()}
    try:
      self._lines.write(json.dumps({"step": step, "time": round(time.time(), 3), **finite}) + "\n")
      self._events.write(step, flat)
    except OSError as error:  # a full disk costs metrics, not the run
      if not self._lost:
        self.warn(f"step {step}: metrics cannot be written ({error.strerror}); training goes on without")
      self._lost = True
    if show:
      without = f" without {' and '.join(pace[2])}" if pace and pace[2] else ""
      speed = f"{pace[0]:.3g} steps/s  {format_seconds(pace[1])} left{without}  " if pace else ""
      values = "  ".join(f"{name.split('/')[-1]} {flat[name]:.4g}" for name in show if name in flat)
      print(f"step {step}/{self._total}  {speed}{values}", flush=True)
    return flat

  def warn(self, text: str) -> None:
    """Prints a line on stderr, in the process that writes."""
    if self._active:
      print(f"warning: {text}", file=sys.stderr, flush=True)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    """Closes both files."""
    if self._active:
      with contextlib.suppress(OSError):
        self._lines.close()
      with contextlib.suppress(OSError):
        self._events.close()
