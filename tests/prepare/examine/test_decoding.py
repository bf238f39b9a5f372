"""Parts and pieces are judged by themselves; a fault of the machine is never one of the file; lengths, turns, HDR."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from nwt_jax.errors import InputError, MachineError
from nwt_jax.io import ffmpeg, video
from nwt_jax.io.probe import probe
from nwt_jax.prepare import __main__ as prepare
from nwt_jax.prepare.acquire import recordings as downloads
from nwt_jax.prepare.acquire import segments
from nwt_jax.prepare.examine import decoding
from nwt_jax.prepare.examine.clip import Look, examine
from nwt_jax.prepare.write import records
from tests import media
from tests.conftest import ROOT

LOOK = Look(False, False)
GROUP = "keyint=25:min-keyint=25:scenecut=0:log-level=none"
STREAMS = {  # container and codec: what ffmpeg is asked for
  "h264.ts": ["-c:v", "libx264", "-g", "25", "-bf", "3", "-c:a", "aac"],
  "open.mp4": ["-c:v", "libx264", "-bf", "3", "-x264opts", "open-gop=1:keyint=25:scenecut=0", "-c:a", "aac"],
  "open.ts": ["-c:v", "libx264", "-bf", "3", "-x264opts", "open-gop=1:keyint=25:scenecut=0", "-c:a", "aac"],
  "hevc.mp4": ["-c:v", "libx265", "-x265-params", GROUP, "-c:a", "aac"],
  "hevc.ts": ["-c:v", "libx265", "-x265-params", GROUP, "-c:a", "aac"],
  "mpeg2.mpg": ["-c:v", "mpeg2video", "-g", "12", "-bf", "2", "-q:v", "4", "-c:a", "mp2"],
  "mpeg4.avi": ["-c:v", "mpeg4", "-g", "24", "-bf", "2", "-q:v", "4", "-c:a", "mp3"],
}
SECONDS = 6.0


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
  """One recording of six seconds, in several containers and codecs."""
  folder = tmp_path_factory.mktemp("streams")
  frames, sound = media.pictures(3, round(25 * SECONDS)), media.speech(3, SECONDS)
  return {name: media.record(folder / name, frames, sound, encode=encode) for name, encode in STREAMS.items()}


@pytest.mark.parametrize("name", STREAMS)
def test_every_part_of_a_whole_file_is_kept_and_shows_those_seconds(streams, name):
  path = streams[name]
  whole = video.read_video(path, height=36, width=48).astype(float)
  for start in (1.3, 3.3):
    row = examine(str(path), LOOK, start, 2.0)
    assert row["fault"] == "", row["reason"]
    assert row["length"] == pytest.approx(2.0, abs=0.05)
    part = video.read_video(path, height=36, width=48, start=start, length=2.0).astype(float)
    assert len(part) in (60, 61)
    first = round(30 * start)
    # Within a frame of the whole, all along: in a file without an index a seek may land beside the moment.
    error = min(np.abs(part[:60] - whole[first + by : first + by + 60]).mean(axis=(1, 2, 3)).max() for by in (-1, 0, 1))
    assert error < 8, error


@pytest.mark.parametrize("name", STREAMS)
def test_every_piece_of_a_whole_file_is_kept(streams, tmp_path, name):
  pieces = segments.split(streams[name], tmp_path / "pieces", 2.0)
  assert len(pieces) >= 2
  kept = 0.0
  for piece in pieces:
    row = examine(str(piece.path), Look(False, False, piece=True))
    assert row["fault"] == "", row["reason"]
    frames, sound, _ = records.FileClip("x", str(piece.path), row["start"], row["length"]).read(_picture())
    assert len(frames) / 30 == pytest.approx(row["length"], abs=0.07)
    assert len(sound) / 24_000 == pytest.approx(row["length"], abs=0.1)
    kept += row["length"]
  # Of each open group the pictures before its key frame are lost, and no more.
  assert kept > SECONDS - 0.45 * len(pieces)


def test_damage_counts_where_it_is(tmp_path):
  data = bytearray(media.clip(tmp_path / "c.ts", 4, 6.0).read_bytes())
  middle = range(int(0.42 * len(data)) // 188 * 188, int(0.46 * len(data)), 188)  # about 2.5 to 2.8 s
  noise = np.random.default_rng(0)
  for packet in middle:
    data[packet + 20 : packet + 180] = noise.bytes(160)
  (tmp_path / "bad.ts").write_bytes(bytes(data))
  found = {start: examine(str(tmp_path / "bad.ts"), LOOK, start, 1.5)["fault"] for start in (0.3, 2.0, 4.2)}
  assert found == {0.3: "", 2.0: "damaged", 4.2: ""}
  assert examine(str(tmp_path / "bad.ts"), LOOK)["fault"] == "damaged"


def test_a_list_of_parts_and_its_manifest_give_the_same_clips(streams, tmp_path):
  rows = [{"path": str(streams["h264.ts"]), "name": f"p{n}", "start": n, "end": n + 1.5} for n in range(4)]
  (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
  root = streams["h264.ts"].parent
  made = prepare.prepare(tmp_path / "a", pattern=str(tmp_path / "list.jsonl"), root=root, height=16, width=16)
  assert sum(made["splits"].values()) == 4 and not made["skipped"]
  again = prepare.prepare(tmp_path / "b", pattern=str(tmp_path / "a" / "manifest.jsonl"), root="/", height=16, width=16)
  assert again["splits"] == made["splits"]


def test_a_header_that_says_no_duration_or_a_wrong_one_does_not_hide_the_rest(tmp_path):
  frames = media.pictures(7, 150)
  frames[:25] = 16
  live = ["-c:v", "libvpx", "-deadline", "realtime", "-g", "50", "-c:a", "libopus", "-f", "webm", "-live", "1"]
  path = media.record(tmp_path / "browser.webm", frames, media.speech(7, 6.0), encode=live)
  assert probe(path).duration == 0
  found = decoding.decode(path, probe(path))
  light = found.pictures.mean(axis=(1, 2, 3))
  assert len(light) == 8 and (light > 60).sum() == 7  # one second of six is dark
  assert found.last == pytest.approx(6.0, abs=0.1)


def test_pixels_are_squared_before_a_picture_is_turned(tmp_path):
  x264 = ["-c:v", "libx264", "-crf", "4", "-c:a", "aac", "-vf", "setsar=4/3"]
  flat = media.record(tmp_path / "sar.mp4", media.pictures(1, 25, 72, 90), media.speech(1, 1.0), encode=x264)
  turned = media.ffmpeg_to(tmp_path / "turned.mp4", "-display_rotation", "90", "-i", flat, "-c", "copy")
  upside = media.ffmpeg_to(tmp_path / "upside.mp4", "-display_rotation", "180", "-i", flat, "-c", "copy")
  assert probe(flat).shown == probe(upside).shown == (120, 72) and probe(turned).shown == (72, 120)
  straight, quarter, half = (video.read_video(path)[5].astype(float) for path in (flat, turned, upside))
  assert straight.shape == half.shape == (72, 120, 3) and quarter.shape == (120, 72, 3)
  assert np.abs(np.rot90(straight) - quarter).mean() < 3 and np.abs(straight[::-1, ::-1] - half).mean() < 3
  for path, size in ((flat, (72, 120)), (turned, (120, 72))):
    pictures = decoding.decode(path, probe(path)).pictures
    assert pictures.shape[1:3] == size
  assert examine(str(turned), LOOK)["shown"] == [72, 120]  # what a box must lie in
  with pytest.raises(InputError, match="reaches outside"):
    video.read_video(turned, crop=video.Box(120, 72, 0, 0))
  # A WebM says the shape of its pixels in other words.
  webm = ["-c:v", "libvpx", "-deadline", "realtime", "-crf", "4", "-b:v", "2M", "-c:a", "libopus", "-vf", "setsar=4/3"]
  path = media.record(tmp_path / "sar.webm", media.pictures(1, 25, 72, 90), media.speech(1, 1.0), encode=webm)
  assert video.read_video(path).shape[1:] == (72, 120, 3)


@pytest.mark.parametrize("transfer, tagged", [("arib-std-b67", True), ("smpte2084", True), ("smpte2084", False)])
def test_high_dynamic_range_comes_out_as_the_standard_one(tmp_path, transfer, tagged):
  frames = np.repeat(media.pictures(5, 1, 64, 96), 25, axis=0)
  plain = video.read_video(media.record(tmp_path / "sdr.mp4", frames, media.speech(5, 1.0)))
  # White becomes 203 nits (BT.2408).
  grade = "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,setparams=color_primaries=bt709:color_trc=bt709"
  grade += f":colorspace=bt709:range=tv,zscale=t={transfer}:p=2020:m=2020_ncl:npl=203:r=tv,format=yuv420p10le"
  tags = ["-color_trc", transfer, *(["-color_primaries", "bt2020", "-colorspace", "bt2020nc"] if tagged else [])]
  names = f":colorprim=bt2020:colormatrix=bt2020nc:transfer={transfer}" if tagged else f":transfer={transfer}"
  x265 = [
    "-vf",
    grade,
    "-c:v",
    "libx265",
    "-crf",
    "8",
    "-x265-params",
    f"log-level=none{names}",
    "-pix_fmt",
    "yuv420p10le",
  ]
  path = media.record(tmp_path / "hdr.mov", frames, media.speech(5, 1.0), encode=[*x265, *tags, "-c:a", "aac"])
  assert probe(path).hdr == {"arib-std-b67": "HLG", "smpte2084": "PQ"}[transfer]
  read = video.read_video(path)
  assert np.abs(read.astype(float) - plain).mean() < 12 and 0.85 < read.std() / plain.std() < 1.15
  row = examine(str(path), LOOK)
  assert row["fault"] == "" and "hdr" in row["flags"]
  assert "hdr" not in examine(str(tmp_path / "sdr.mp4"), LOOK)["flags"]


def _picture():
  return records.Picture(36, 48, 30, "png")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
  """Three clips of a second and one of twelve."""
  folder = tmp_path_factory.mktemp("recordings")
  for seed, seconds in enumerate((1.0, 1.0, 1.0, 12.0)):
    media.clip(folder / f"c{seed}.mp4", seed, seconds)
  return folder


def _fake(tmp_path, rule):
  """An ffmpeg that does what `rule`, a line of sh, says before it is the real one."""
  fake = tmp_path / "ffmpeg"
  fake.write_text(f'#!/bin/sh\n{rule}\nexec {ffmpeg.executable()} "$@"\n')
  fake.chmod(0o755)
  return str(fake)


ENDS = {
  "full disk": ('case "$*" in *c3.mp4*framecrc*) exit 228;; esac', "No space left on device"),
  "killed": ('case "$*" in *c3.mp4*framecrc*) kill -9 $$;; esac', "SIGKILL"),
  "unknown option": ('case "$*" in *framecrc*) exit 8;; esac', "a clip that is whole"),
  "killed while reading": ('case "$*" in *c3.mp4*image2pipe*) kill -9 $$;; esac', "SIGKILL"),
}


@pytest.mark.parametrize("what", ENDS)
def test_a_fault_of_the_machine_ends_the_preparation_and_leaves_no_trace(recordings, tmp_path, monkeypatch, what):
  rule, message = ENDS[what]
  options = {"pattern": str(recordings), "height": 16, "width": 16}
  with monkeypatch.context() as patch:
    fake = _fake(tmp_path, rule)
    patch.setattr(ffmpeg, "executable", lambda: fake)
    with pytest.raises(MachineError, match=message) as raised:
      prepare.prepare(tmp_path / "out", **options)
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()
  made = prepare.prepare(tmp_path / "out", **options)  # the machine is well again
  assert sum(made["splits"].values()) == 4 and not made["skipped"]


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting a small disk needs root on Linux")
def test_a_full_temporary_disk_is_named(recordings, tmp_path):
  small = tmp_path / "small"
  small.mkdir()
  if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", small], check=False).returncode:
    pytest.skip("a small disk cannot be mounted here")
  try:
    command = [sys.executable, "-m", "nwt_jax.prepare", f"--input={recordings}", f"--output={tmp_path / 'out'}"]
    command += ["--height=16", "--width=16", "--workers=1"]
    environment = {**os.environ, "TMPDIR": str(small)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and "No space left on device" in last and str(small) in last, done.stderr
    assert "left out" not in done.stderr and not (tmp_path / "out").exists()
  finally:
    subprocess.run(["umount", small], check=True)
  made = prepare.prepare(tmp_path / "out", pattern=str(recordings), height=16, width=16)
  assert sum(made["splits"].values()) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are Linux's")
@pytest.mark.parametrize("limit", ["-v 12000000", "-f 4000000"])
def test_lower_limits_than_ours_hold(recordings, tmp_path, limit):
  code = (
    f"from nwt_jax.prepare.examine.clip import *; print(examine({str(recordings / 'c0.mp4')!r}, Look(False, False)))"
  )
  shell = f'ulimit -H {limit}; ulimit -S {limit}; exec "$@"'
  drop = ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"] if os.geteuid() == 0 else []
  command = [*drop, "bash", "-c", shell, "-", sys.executable, "-c", code]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
  assert done.returncode == 0 and "'fault': ''" in done.stdout, done.stderr


def test_too_low_a_limit_of_memory_or_of_files_is_named():
  for status, named in ((244, "ulimit -v"), (-6, "ulimit -v"), (-25, "ulimit -f")):
    with pytest.raises(MachineError, match=named):
      ffmpeg._check_status(status, 200 << 20, 200 << 20)
  with pytest.raises(InputError, match="unfolds to more"):
    ffmpeg._check_status(-25, ffmpeg.MAX_MEMORY, ffmpeg.MAX_BYTES)
  assert ffmpeg._check_status(244, ffmpeg.MAX_MEMORY, ffmpeg.MAX_BYTES) is None  # what the file asked for


@pytest.mark.parametrize(
  "version, taken",
  [("4.2.2", False), ("n4.4", False), ("5.0.1", False), ("5.1", True), ("n9.0.2-17", True), ("N-110-gabc", True)],
)
def test_an_ffmpeg_that_is_too_old_is_named_with_the_version_needed(tmp_path, monkeypatch, version, taken):
  fake = _fake(tmp_path, f'case "$*" in -version) echo "ffmpeg version {version} Copyright"; exit;; esac')
  monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", fake)
  if taken:
    assert ffmpeg.executable() == fake
    return
  with pytest.raises(MachineError, match=r"is too old: 5\.1 or newer is needed; unset IMAGEIO_FFMPEG_EXE"):
    examine(str(tmp_path / "ffmpeg"), LOOK)


def test_an_address_is_not_blamed_for_a_full_disk(tmp_path, monkeypatch):
  (tmp_path / "list.txt").write_text("https://example.org/a.mp4\n")
  found = downloads.find(str(tmp_path / "list.txt"))
  monkeypatch.setattr(downloads.importlib.util, "find_spec", lambda name: True)
  monkeypatch.setattr(downloads, "_download", lambda *_: "it failed")

  def full(folder=None):
    raise MachineError(f"{folder} takes no more files: No space left on device")

  (tmp_path / "d").mkdir()
  assert downloads.acquire(found, tmp_path / "d", print)[1]  # a dead link, on a disk with room
  monkeypatch.setattr(downloads, "check_room", full)
  with pytest.raises(MachineError, match="No space left"):
    downloads.acquire(found, tmp_path / "d", print)


def test_a_file_that_cannot_be_opened_is_no_bad_recording(tmp_path, monkeypatch):
  path = media.clip(tmp_path / "in" / "c.mp4", 1, 1.0)
  path.chmod(0)
  if os.access(path, os.R_OK):
    pytest.skip("root may read all files")
  with pytest.raises(MachineError, match="Permission denied"):
    prepare.prepare(tmp_path / "out", pattern=str(tmp_path / "in"), height=16, width=16)
