"""The parts that a stage of training gives to the loop."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Stage:
  """State, update, data, evaluation and export of one stage, made from a config by `stages.make_stage`."""

  state: Any  # at step 0; its `for_release()` is the part that is evaluated and exported
  step: Callable[[Any, dict], tuple[Any, dict]]  # (state, batch) -> (state, metrics)
  batches: Callable[[int], Iterator[dict]]  # index of the first step -> this process's batches
  # (released state, WORKDIR/eval/STEP for pictures) -> metrics; runs on one process, after the export to WORKDIR/export
  evaluate: Callable[[Any, Path], dict[str, float]]
  export: Callable[[Any, Path], None]  # (released state, folder); runs on one process
  progress: tuple[str, ...]  # names of the metrics that the progress line shows
  warning: Callable[[dict[str, float]], str | None]  # metrics -> a warning, or None
  fingerprint: str  # identifies the data set
