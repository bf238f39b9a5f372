"""What flags, paths, cards and headers show to be wrong is answered before jax is loaded, by every program."""

import json
import shutil

import pytest

from nwt_jax.train.preflight import trial
from tests import digits
from tests.train.preflight.test_fitting import tokens_of


@pytest.fixture(scope="session")
def places(tmp_path_factory, tiny_release):
  """Paths of inputs, good and bad, by name."""
  folder = tmp_path_factory.mktemp("early")
  (folder / "file").touch()
  (folder / "file.mp4").write_text("no video, which nobody is to find out first")
  trial.write_noise(folder / "clips")
  digits.folder(folder / "mnist", 20, 4)
  shutil.copytree(tiny_release, folder / "other")
  card = json.loads((folder / "other" / "dvae.json").read_text())
  (folder / "other" / "dvae.json").write_text(json.dumps({**card, "sha256": "0" * 64}))
  found = {name: folder / name for name in ("file", "clips", "mnist", "other")}
  found["tokens"] = tokens_of(tiny_release, folder / "tokens")
  return found | {"none": folder / "none", "release": tiny_release}


DVAE, MAR, FAR = "--config=configs/dvae_lwt.py:tiny", "--config=configs/mar.py:tiny", "--config=configs/far.py:tiny"
MNIST, TOKENIZE = "--config=configs/dvae_mnist.py:tiny", "--config=configs/tokenize.py:tiny"
DATA = "--config.data.path="
CASES = [
  ("sample", "--checkpoint={none}", "no such folder"),
  ("sample", "--checkpoint={other}", "trained on another dVAE"),
  ("sample", "--style_from={none}", "does not exist"),
  ("sample", "--style_from=nwt_jax/released/talker/demo.wav", "holds no picture stream"),
  ("sample", "--episode=nobody", "choose from library"),
  ("sample", "--episode=dusk,library@99", "before the end at 4.00 s"),
  ("sample", "--style=99=1", "this model has 0 to 15"),
  ("sample", "--temperature=nan", "not a finite number"),
  ("sample", "--precision=float16", "float32|bfloat16"),
  ("sample", "--output={file}/x.mp4", "is a file"),
  ("sample", "--output={file}/deep/x.mp4", "which is a file"),
  ("sample", "--output=/proc/x.mp4", "cannot be written"),
  ("demo", "--checkpoint={none}", "no such folder"),
  ("demo", "--output={file}", "is a file"),
  ("evaluate", "--output={none} --checkpoint={none}", "no such folder"),
  ("evaluate", "--output={none} --families=har", "choose from mar, far, or dvae"),
  ("evaluate", "--output={none} --data={none}", "holds no data set"),
  ("evaluate", "--output={none} --data={tokens}", "holds tokens, wanted clips"),
  ("evaluate", "--output={none} --data={clips}", "frames of 32 x 24, the model makes 64 x 56"),
  ("evaluate", "--output={file}", "is a file"),
  ("analysis.video", "--output={none} --checkpoint={none}", "no such folder"),
  ("analysis.video", "--output={none} --input={none}", "does not exist"),
  ("analysis.video", "--output={none} --episode=nobody", "choose from library"),
  ("analysis.video", "--output={none} --row=99", "outside the 8 x 7 Memcodes"),
  ("analysis.video", "--output={file}", "is a file"),
  ("analysis.mnist", "--output={none} --data={none}", "has no train-images"),
  ("analysis.mnist", "--output={file} --data={mnist}", "is a file"),
  ("main", f"{DVAE} --workdir={{none}}", "--config.data.path is empty"),
  ("main", f"{DVAE} --workdir={{none}} {DATA}{{none}}", "holds no data set"),
  ("main", f"{DVAE} --workdir={{none}} {DATA}{{tokens}}", "holds tokens, wanted clips"),
  ("main", f"{DVAE} --workdir={{file}} {DATA}{{clips}}", "is a file"),
  ("main", f"{DVAE},mem8 --workdir={{none}} {DATA}{{clips}} --config.model.patch=2", "do not divide by 32"),
  ("main", f"{DVAE} --workdir={{none}} {DATA}{{clips}} --config.train.init={{none}}", "no such folder"),
  ("main", f"{DVAE} --workdir={{none}} {DATA}{{clips}} --config.data.batch_size=0", "wanted 1 or more"),
  ("main", f"{TOKENIZE} --workdir={{none}} {DATA}{{clips}} --config.dvae={{none}}", "no such folder"),
  ("main", f"{TOKENIZE} --workdir={{none}} {DATA}{{clips}} --config.dvae={{release}}", "knows 3 episodes"),
  ("main", f"{MAR} --workdir={{none}} {DATA}{{clips}}", "holds clips, wanted tokens"),
  ("main", f"{MAR} --workdir={{none}} {DATA}{{tokens}} --config.model.grid=(16,14)", "takes 16 x 14 of 2 x 4"),
  ("main", f"{FAR} --workdir={{none}} {DATA}{{tokens}} --config.model.grid=(4,)", "takes 4 of 2 x 4"),
  ("main", f"{FAR} --workdir={{none}} {DATA}{{tokens}} --config.dvae={{none}}", "no such folder"),
  ("main", f"{FAR} --workdir={{none}} {DATA}{{tokens}} --config.dvae={{other}}", "come from another dVAE"),
  ("main", f"{MNIST} --workdir={{none}} {DATA}{{none}}", "has no train-images"),
  ("main", f"{MNIST} --workdir={{file}} {DATA}{{mnist}}", "is a file"),
  ("prepare", "--input={none} --output={none}", "{none}"),
  ("prepare", "--input={file}.mp4 --output={none} --holdout_episodes=bob", "no clip has the held-out episode 'bob'"),
  ("prepare", "--talker=2 --output={file}", "is not a folder"),
]


@pytest.mark.parametrize("program, arguments, wanted", CASES)
def test_bad_input_is_refused_before_jax_is_loaded(refused, places, without_jax, program, arguments, wanted):
  message = refused(program, *arguments.format(**places).split(" "), **without_jax)
  assert wanted.format(**places) in message
  assert not places["none"].exists()  # nothing was made on the way
