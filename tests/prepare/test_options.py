"""The options of preparation are its flags, under the same names and with the same defaults."""

from dataclasses import MISSING, fields

from absl import flags

from nwt_jax.prepare import __main__ as program
from nwt_jax.prepare.options import PRESETS, PrepareOptions


def test_options_are_the_flags(monkeypatch):
  own = flags.FlagValues()
  with monkeypatch.context() as patch:
    patch.setattr(flags, "FLAGS", own)
    for name in ("string", "integer", "float", "bool", "boolean", "enum", "list"):
      define = getattr(flags, f"DEFINE_{name}")
      patch.setattr(flags, f"DEFINE_{name}", lambda *a, define=define, **k: define(*a, flag_values=own, **k))
    program.define_flags()
  named = {field.name: field.default for field in fields(PrepareOptions)}
  assert set(own) - {"preset"} == set(named)
  by_machine = {"output", "workers"}  # required; as many as there are cores
  preset = PRESETS[""]
  for name in set(named) - by_machine:
    default = preset[name] if name in preset else own[name].default
    wanted = list(named[name]) if isinstance(named[name], tuple) else named[name]
    assert wanted is not MISSING and default == wanted, name
