"""Every fault has a number, a test that is named by it, and a line in docs/faults.md; recorded proofs hold."""

import json
import re

import pytest

from tests.conftest import ROOT


def test_every_fault_is_listed_and_tested():
  sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
  tested = {int(number) for text in sources for number in re.findall(r"^def test_fault_(\d\d)_\w+\(", text, re.M)}
  listed = [int(number) for number in re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "faults.md").read_text(), re.M)]
  assert listed == sorted(tested)


def proof(name: str) -> dict:
  return json.loads((ROOT / "benchmarks" / "results" / f"proof_{name}.json").read_text())


def test_recorded_kills_ended_in_the_undisturbed_state():
  kills = proof("kills")["kills"]
  assert len(kills) == 20 and all(kill["same end"] for kill in kills)
  assert len({kill["last whole step"] for kill in kills}) > 5  # at different moments


def test_recorded_flips_were_all_noticed():
  found = proof("flips")
  assert found["flipped"] == 200 and found["files"] > 5 and found["loaded"] == 0


def test_the_recorded_soak_is_flat():
  found = proof("soak")
  early, late = found["seconds_a_step"]
  assert len(found["readings"]) == 12 and late < 1.5 * early
  assert found["readings"][-1]["MiB"] == pytest.approx(found["readings"][0]["MiB"], abs=32)
