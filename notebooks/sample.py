# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Speech in, talking-person video out
#
# The shipped MAR hears a sentence and draws the person who says it. Everything runs on a CPU; a GPU is faster.
#
# In Colab: run `make wheel` in a clone, upload `dist/nwt_jax-*.whl` to the notebook's folder, and run the cell below.

# %%
import glob
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("nwt_jax") is None:
  subprocess.run([sys.executable, "-m", "pip", "install", "-q", *glob.glob("nwt_jax-*.whl")], check=True)

# %%
import base64
import pathlib
import tempfile

import numpy as np
from IPython.display import HTML, display

import nwt_jax
from nwt_jax.api import NWT

TALKER = pathlib.Path(nwt_jax.__file__).parent / "released" / "talker"
OUT = pathlib.Path(tempfile.mkdtemp())


def show(*paths):
  """Shows videos side by side, inside the notebook."""
  data = [base64.b64encode(pathlib.Path(path).read_bytes()).decode() for path in paths]
  tags = [f'<video controls loop width=280 src="data:video/mp4;base64,{one}"></video>' for one in data]
  display(HTML(" ".join(tags)))


# %% [markdown]
# ## A sentence
#
# `generate` takes a sound file of any length, or an array with its sample rate. `write` streams the video to a file.

# %%
model = NWT.from_checkpoint()
print("episodes:", ", ".join(model.episodes))
speech = TALKER / "demo.wav"  # or a recording of your own
model.generate(speech, seed=0).write(OUT / "first.mp4")
show(OUT / "first.mp4")

# %% [markdown]
# ## Another person, another style, a change in the middle
#
# The episode sets looks, clothes and room. The style is what sound does not determine: its 16 variates are drawn from a
# seed, copied from a video (`style_from`) or set by hand.

# %%
one, two = model.episodes[0], model.episodes[-1]
model.generate(speech, seed=1, episode=f"{one},{two}@2.0").write(OUT / "episodes.mp4")
model.generate(speech, seed=1, episode=two, style="0=+2.0, 3=-2.0").write(OUT / "style.mp4")
show(OUT / "episodes.mp4", OUT / "style.mp4")

# %% [markdown]
# ## The Memcodes
#
# The video is decoded from integers: for each frame a small grid of Memcodes, each of several heads.

# %%
codes = model.generate(speech, seed=0).collect().codes
print("codes [t i j k]:", codes.shape, "of", codes.max() + 1, "symbols")
for head in range(codes.shape[-1]):
  print(f"head {head}: times each symbol was used", np.bincount(codes[..., head].ravel()))
