"""Writes a table of `nwt_jax.evaluate` into the model card: scripts/model_card.py out/evaluation/metrics.json"""

import json
import re
import sys
from pathlib import Path

CARD = Path(__file__).resolve().parent.parent / "nwt_jax" / "released" / "talker" / "MODEL_CARD.md"
AIMS = {
  "ssim": "0.90, and 0.1 over the mean frame",
  "ssim_mouth": "0.80",
  "mouth_corr_real": "0.98",
  "mouth_corr": "0.75",
  "mouth_corr_shuffled": "under 0.2",
  "mouth_lag_frames": "0 or 1",
  "episode_accuracy": "0.95",
  "style_copy_accuracy": "0.80",
  "uncached_largest_gap": "under 0.0001",
}


def table(metrics: dict) -> str:
  """Rows of Markdown, one a metric."""
  rows = ["| metric | mean | standard deviation | clips | aim |", "| --- | --- | --- | --- | --- |"]
  for name, value in sorted(metrics.items()):
    if name == "measured_on":
      continue
    aim = AIMS.get(re.sub(r"^(mar|far)\.", "", name), "")
    digits = 6 if "gap" in name else 3
    mean, std = ("unknown" if value[part] is None else f"{value[part]:.{digits}f}" for part in ("mean", "std"))
    clips = f"{value['count']}, {value['unknown']} unknown" if value["unknown"] else value["count"] or ""
    rows.append(f"| `{name}` | {mean} | {std} | {clips} | {aim} |")
  return "\n".join(rows)


if __name__ == "__main__":
  made = table(json.loads(Path(sys.argv[1]).read_text()))
  pattern = r"(<!-- metrics: begin -->\n).*(\n<!-- metrics: end -->)"
  CARD.write_text(re.sub(pattern, lambda found: found[1] + made + found[2], CARD.read_text(), flags=re.DOTALL))
