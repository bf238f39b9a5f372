"""What XLA's compiler for GPUs writes about a program, read: its instructions (HLO), and its thunks.

A thunk is what the host would otherwise start by itself: a kernel, a library's call, a copy; or it holds others: a
loop, a command buffer (a CUDA graph). The option `xla_dump_to` writes them to a folder.
"""

import dataclasses
import math
import re
from pathlib import Path

HOLDERS = ("kCommandBuffer", "kWhile", "kConditional", "kSequential", "kDynamicSliceFusion", "kAsyncStart")
IDLE = ("kAsyncDone",)  # nothing is launched for them
ROLES = {  # what a convolution's operands and its result are, in the letters of its dim_labels
  "__cudnn$convBackwardInput": ("output", "kernel", "input"),
  "__cudnn$convBackwardFilter": ("input", "output", "kernel"),
}
ARRAY = re.compile(r"\w+\[[\d,]*\](?:\{[^}]*\})?")  # bf16[1,224,512]{2,1,0}, also among others in a tuple
FORWARD = ("input", "kernel", "output")


@dataclasses.dataclass(frozen=True)
class Thunk:
  """name: of its HLO instruction, where it has one. inside: the thunks that hold it, outermost first."""

  kind: str
  name: str
  text: str
  inside: tuple["Thunk", ...] = ()

  @property
  def launches(self) -> bool:
    return self.kind not in HOLDERS + IDLE

  def loops(self) -> list["Thunk"]:
    return [thunk for thunk in self.inside if thunk.kind == "kWhile"]

  def captured(self) -> bool:
    return any(thunk.kind == "kCommandBuffer" for thunk in self.inside)


def thunks(sequence: str, metadata: str) -> list[Thunk]:
  """Reads `*.thunk_sequence*.txt`, whose indentation says what holds what; `*.thunk_metadata.txt` has the names."""
  names = {}
  for part in metadata.split("thunk_metadata {")[1:]:
    number, name = re.search(r"thunk_id: (\d+)", part), re.search(r'profile_annotation: "(.*?)"', part)
    if number and name:
      names[int(number[1])] = name[1]
  found, open_ones = [], []  # of the latter (indentation, thunk)
  for line in sequence.splitlines():
    if match := re.match(r"( *)(\d+): (k\w+)\s*(?:\[.*?\])?(.*)", line):
      indent, number = len(match[1]), int(match[2])
      open_ones = [pair for pair in open_ones if pair[0] < indent]
      inside = tuple(thunk for _, thunk in open_ones)
      thunk = Thunk(match[3], names.get(number, ""), match[4].strip(), inside)
      open_ones.append((indent, thunk))
      found.append(thunk)
  return found


def read_thunks(folder: Path) -> list[Thunk]:
  """The thunks of the one program that was compiled with `xla_dump_to` = folder, after the last pass over them."""
  (before,), (metadata,) = folder.glob("*.thunk_sequence.txt"), folder.glob("*.thunk_metadata.txt")
  after = list(folder.glob("*.thunk_sequence_after_thunk_passes.txt"))  # not written where no pass changed anything
  return thunks((after or [before])[0].read_text(), metadata.read_text())


@dataclasses.dataclass(frozen=True)
class Instruction:
  shape: str  # as printed, with its layout: bf16[1,224,512]{2,1,0}; of several results (f32[8]{0}, s32[])
  opcode: str
  operands: tuple[str, ...]
  text: str  # the whole line

  @property
  def op_name(self) -> str:
    """Where in our code it comes from."""
    match = re.search(r'op_name="(.*?)"', self.text)
    return match[1] if match else ""


class Module:
  """A compiled program's instructions by name, and its computations' results."""

  def __init__(self, text: str):
    self.instructions: dict[str, Instruction] = {}
    self.roots: dict[str, str] = {}
    computation = ""
    for line in text.splitlines():
      if match := re.match(r"(?:ENTRY )?%([\w.\-]+) \(.*\{$", line):
        computation = match[1]
      elif match := re.match(r"\s+(ROOT )?%([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*?)\)", line):
        root, name, shape, opcode, operands = match.groups()
        self.instructions[name] = Instruction(shape, opcode, tuple(re.findall(r"%([\w.\-]+)", operands)), line.strip())
        if root:
          self.roots[computation] = name

  def trips(self) -> dict[str, int | None]:
    """How often each loop runs; None: as long as its condition says, which is known on the device alone."""
    found = {}
    for name, instruction in self.instructions.items():
      if instruction.opcode == "while":
        match = re.search(r'"known_trip_count":\{"n":"(\d+)"', instruction.text)
        found[name] = int(match[1]) if match else None
    return found

  def written(self, name: str) -> list[str]:
    """Shapes of the whole arrays that an instruction writes; one that is updated in place is not written."""
    instruction = self.instructions[name]
    if instruction.opcode == "fusion":
      return self.written(self.roots[re.search(r"calls=%([\w.\-]+)", instruction.text)[1]])
    if instruction.opcode in ("tuple", "bitcast"):
      inner = [shape for operand in instruction.operands for shape in self.written(operand)]
      return inner if instruction.opcode == "tuple" or not inner else [instruction.shape]
    return [] if instruction.opcode == "dynamic-update-slice" else ARRAY.findall(instruction.shape)


def plain_shape(shape: str) -> str:
  """Type and dimensions without those of 1 and without layout: bf16[1,224,512]{2,1,0} is bf16[224,512]."""
  kind, dims = re.match(r"(\w+)\[([\d,]*)\]", shape).groups()
  return f"{kind}[{','.join(n for n in dims.split(',') if n not in ('', '1'))}]"


@dataclasses.dataclass(frozen=True)
class Convolution:
  """window: what it reaches over, in each direction. layouts: of its input and its output."""

  window: tuple[int, ...]
  layouts: tuple[str, ...]


def layout(labels: str, shape: str) -> str:
  """The order in which an array lies in memory, outermost dimension first: NHWC, NCHW, or the labels themselves.

  Args: labels: of its dimensions: b (batch), f (features), 0, 1, 2 (space). shape: its {...} lists dimensions from
    the innermost outwards."""
  order = re.search(r"\{([\d,]+)", shape)[1].split(",")
  laid = "".join(labels[int(n)] for n in reversed(order))
  space = "012"[: len(laid) - 2]
  return {f"b{space}f": "NHWC", f"bf{space}": "NCHW"}.get(laid, laid)


def convolutions(module: Module) -> list[Convolution]:
  """Every convolution of a program: cuDNN's calls, and those that stayed instructions.

  cuDNN's calls for gradients carry the labels of the convolution that they are of. A gradient that stayed a convolution
  instruction has others (a filter's takes features for batch): such labels are reported as they stand."""
  found = []
  for instruction in module.instructions.values():
    match = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.text)
    if not match:
      continue
    labels = dict(zip(FORWARD, match.groups(), strict=True))
    target = re.search(r'custom_call_target="(.*?)"', instruction.text)
    roles = ROLES.get(target[1] if target else "", FORWARD)
    result = ARRAY.findall(instruction.shape)[0]  # a second one is room to work in
    shapes = [module.instructions[operand].shape for operand in instruction.operands[:2]] + [result]
    seen = {role: layout(labels[role], shape) for role, shape in zip(roles, shapes, strict=True) if role != "kernel"}
    found.append(Convolution(_window(instruction.text), tuple(seen.values())))
  return found


def _window(text: str) -> tuple[int, ...]:
  """Sizes of a convolution's window, with its dilation."""
  fields = dict(re.findall(r"(\w+)=([\dx_\-]+)", re.search(r"window=\{(.*?)\}|$", text)[1] or ""))
  sizes = [int(n) for n in fields.get("size", "").split("x") if n]
  spread = [int(n) for n in fields.get("rhs_dilate", "").split("x") if n] or [1] * len(sizes)
  return tuple((size - 1) * step + 1 for size, step in zip(sizes, spread, strict=True))


def runs(thunk: Thunk, trips: dict[str, int | None]) -> int:
  """How often a thunk runs in a call of its program; a loop whose trips are not known is taken to run once."""
  return math.prod(trips[loop.name] or 1 for loop in thunk.loops())


def launched(found: list[Thunk], trips: dict[str, int | None]) -> int:
  """How often anything is launched. A library's call counts once, however many kernels the library launches for it."""
  return sum(runs(thunk, trips) for thunk in found if thunk.launches)
