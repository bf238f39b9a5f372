"""The parameters that a run starts from, if a release gives them instead of fresh ones."""

from typing import Any

import jax

from nwt_jax.errors import ConfigError, InputError
from nwt_jax.io.release import load_release


def initial_params(options: Any, family: str, params: dict) -> dict:
  """Returns the released weights that `options.init` names, or `params` where it is empty.

  Args: options: a config's `train`; its `reinit` names modules, joined by commas, that keep the values of `params`, as
    the embedding of other episodes must. family: the release's. params: freshly drawn parameters.
  Raises: InputError: there is no such release; an array has another shape, is missing or is not in the model; `reinit`
    names a module that is not there.
  """
  if not options.init:
    return params
  try:
    released = load_release(options.init, family)[0]["params"]
  except InputError as error:
    raise ConfigError(f"--config.train.init={options.init}: {error}; a run that goes on needs no such flag") from error
  reinit = [name for name in options.reinit.split(",") if name]
  for name in reinit:
    if name not in params["params"]:
      raise ConfigError(f"--config.train.reinit: no module {name!r}; choose from {', '.join(sorted(params['params']))}")
  merged = {**released, **{name: params["params"][name] for name in reinit}}
  expected, got = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (params["params"], merged))
  for path in sorted(expected.keys() | got.keys(), key=str):
    shapes = [tree[path].shape if path in tree else "nothing" for tree in (expected, got)]
    if shapes[0] != shapes[1]:
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      raise ConfigError(
        f"--config.train.init={options.init}: {name} is {shapes[1]}, wanted {shapes[0]}; use its config, or draw "
        f"this module anew with --config.train.reinit={name.split('/')[0]}"
      )
  return {"params": jax.tree.map(lambda new, old: jax.numpy.asarray(new, old.dtype), merged, params["params"])}
