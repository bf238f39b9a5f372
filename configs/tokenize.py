"""Between the stages: Memcodes of every clip, sampled once from the frozen dVAE (2.2.1, footnote 2).

Arguments: demo (for the shipped size of priors), tiny (short windows, for tests).
"""

import ml_collections

from nwt_jax.configs import common


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  words = common.variants(arg, ("demo", "tiny"))
  config = ml_collections.ConfigDict()
  config.family = "tokenize"
  config.dvae = ""  # a release of stage 1, or its workdir
  config.sampler = "gumbel"  # footnote 2: sampling "yielded more dynamic results" than "argmax"
  if "demo" in words:
    # DEPARTS: a small dVAE is unsure of many symbols, and sampling draws these anew in every frame: a small prior then
    # spends its updates on noise, and its samples melt. See the model card for the measurement.
    config.sampler = "argmax"
  config.seed = 0
  config.chunk_frames = 6 if "tiny" in words else 30
  config.data = ml_collections.ConfigDict({"path": ""})
  config.lock()
  return config
