"""Lists the programs and starts one: `nwt train --help`, or `python -m nwt_jax train --help`."""

import runpy
import sys

from nwt_jax import cli

PROGRAMS = {  # command: its module, one line
  "demo": ("nwt_jax.demo", "samples the shipped sentence, beside the truth that came with it"),
  "sample": ("nwt_jax.sample", "turns speech into a video of a talking person"),
  "prepare": ("nwt_jax.prepare", "makes a data set from recordings of talking people"),
  "train": ("nwt_jax.main", "trains the dVAE or a prior, and turns clips into Memcodes"),
  "evaluate": ("nwt_jax.evaluate", "measures a checkpoint on clips that it has not seen"),
  "doctor": ("nwt_jax.doctor", "checks this machine: versions, devices, ffmpeg, disk, five steps of training"),
  "heads": ("nwt_jax.analysis.video", "draws what each head of a Memcode holds (Fig. 3b)"),
  "mnist": ("nwt_jax.analysis.mnist", "repeats the study of Memcodes on MNIST (appendix A, B.1.5)"),
}


def main() -> None:
  """Starts the program that the first argument names, with the others; without one lists them all."""
  command, *arguments = sys.argv[1:] or ["--help"]
  if command in cli.HELP:
    print(listing())
    return
  try:
    module, _ = PROGRAMS[command]
  except KeyError:
    choices = f"; choose one of {', '.join(PROGRAMS)}"
    cli.fail(f"no program {command!r}{cli.nearest(command, list(PROGRAMS)) or choices}")
  sys.argv = [sys.argv[0], *arguments]
  runpy.run_module(module, run_name="__main__", alter_sys=True)


def listing() -> str:
  """One line for each program."""
  width = max(map(len, PROGRAMS))
  rows = [f"  {command:{width}}  {line} (python -m {module})" for command, (module, line) in PROGRAMS.items()]
  return "\n".join(["nwt PROGRAM --option=value ...; nwt PROGRAM --help lists the options", "", *rows])


if __name__ == "__main__":
  main()
