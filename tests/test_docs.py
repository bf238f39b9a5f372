"""README and the pages: links lead somewhere, figures and numbers are today's, the API pages' sections are lists."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = """
ssim ssim_episode_mean_frame
ssim_mouth ssim_mouth_episode_mean_frame
mouth_corr_recon mouth_corr_real
mar.mouth_corr far.mouth_corr mar.mouth_corr_shuffled far.mouth_corr_shuffled
mar.episode_accuracy far.episode_accuracy episode_chance
mar.style_copy_accuracy far.style_copy_accuracy style_chance
"""  # the model card's metrics in each row of README's table, in order
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks" / "results" / "README.md"]


def script(name: str):
  """A file of scripts/ as a module."""
  spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
  spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
  return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_pages_lead_to_files_and_headings(page):
  text = page.read_text()
  links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)
  for link in links:
    if re.match(r"\w+:", link):
      continue
    path, _, heading = link.partition("#")
    target = page.parent / path if path else page
    assert target.exists(), link
    if heading:
      titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
      assert heading in {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}, link


def test_readme_is_short():
  assert len((ROOT / "README.md").read_text().splitlines()) <= 115


def test_results_in_readme_are_those_of_the_model_card():
  card = (ROOT / "nwt_jax" / "released" / "talker" / "MODEL_CARD.md").read_text()
  metrics = dict(re.findall(r"^\| `([\w.]+)` \| (-?[\d.]+) \|", card, re.MULTILINE))
  part = (ROOT / "README.md").read_text().split("<!-- results: begin -->")[1].split("<!-- results: end -->")[0]
  rows = re.findall(r"^\| (\w[^|]+)\|([^|]+)\|([^|]+)\|$", part, re.MULTILINE)
  for (title, ours, baseline), names in zip(rows, RESULTS.strip().splitlines(), strict=True):
    close = [float(metrics[name]) for name in names.split()]
    shown = [float(number) for number in re.findall(r"-?\d\.\d\d", ours + baseline)]
    assert shown == pytest.approx(close, abs=0.0051), title


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_named_files_exist(page):
  names = re.findall(r"`((?:\w+/)+\w+\.\w+)`", (ROOT / page).read_text())
  assert len(names) > 20
  assert [name for name in names if not (ROOT / "nwt_jax" / name).exists() and not (ROOT / name).exists()] == []


def test_files_that_comments_name_exist():
  """Paths as `folder/file.py`, from the root, the package, or the folder of the file that names them."""
  lost = []
  for path in (path for top in ("nwt_jax", "benchmarks", "configs") for path in (ROOT / top).rglob("*.py")):
    for name in re.findall(r"(?<![\w/.{}-])((?:[a-z_]+/)+[a-z_]+\.py)\b", path.read_text()):
      if not any((base / name).exists() for base in (ROOT, ROOT / "nwt_jax", path.parent, path.parent.parent)):
        lost.append(f"{path.relative_to(ROOT)}: {name}")
  assert not lost


def test_architecture_figures_are_the_scripts():
  figures = script("architecture_figure")
  for name, colours in figures.THEMES.items():
    assert (ROOT / "docs" / "figures" / f"architecture-{name}.svg").read_text() == figures.figure(colours)


def test_animation_is_small():
  assert 50_000 < (ROOT / "docs" / "figures" / "talker.webp").stat().st_size < 1.5e6


@pytest.mark.slow
def test_animation_is_the_scripts(tmp_path):
  """Of as many pictures of the same size; the true row, which no rounding can change, is the same but for the codec."""
  import cv2

  script("talker_gif").main(str(tmp_path / "talker.webp"))
  read = lambda path: np.stack([frame[..., :3] for frame in cv2.imreadanimation(str(path))[1].frames])
  made, shown = read(tmp_path / "talker.webp"), read(ROOT / "docs" / "figures" / "talker.webp")
  assert made.shape == shown.shape
  half = made.shape[1] * 2 // 5  # the true row ends here
  assert np.abs(made[:, :half].astype(int) - shown[:, :half]).mean() < 1


def test_docstring_sections_become_lists():
  page = script("api_page")
  made = page.sections("Reads. Args: path: a file. start, end: seconds. Returns: frames.\nRaises: InputError: no file.")
  wanted = ["Reads.", "**Args:**", "  - `path`: a file.\n  - `start`, `end`: seconds.", "**Returns:** frames.",
            "**Raises:**", "  - `InputError`: no file."]  # fmt: skip
  assert made == "\n\n".join(wanted)
  assert page.sections("Says: nothing is cut, Args apart.") == "Says: nothing is cut, Args apart."
