"""Gates on compiled programs: what the compiler writes is read right, in recorded pieces and in a whole program."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from benchmarks.xla import gates as static_gpu
from benchmarks.xla import hlo
from tests.conftest import ROOT

METADATA = """thunk_metadata {
  thunk_info {
    profile_annotation: "command_buffer_1"
  }
  thunk_kind: "kCommandBuffer"
}
thunk_metadata {
  thunk_info {
    profile_annotation: "while.8"
    thunk_id: 4
  }
  thunk_kind: "kWhile"
}
thunk_metadata {
  thunk_info {
    profile_annotation: "while.3"
    thunk_id: 7
  }
  thunk_kind: "kWhile"
}
thunk_metadata {
  thunk_info {
    profile_annotation: "loop_tanh_fusion.2"
    thunk_id: 9
  }
  thunk_kind: "kCustomKernel"
}
"""
CAPTURED = """000: kCommandBuffer [source | sink] \n
    001: kCopy         [source       | next=004 (3)] kCopy
    004: kWhile        [prev=001 (1) | sink        ]       \n\
condition:
        005: kCustomKernel [source | sink] loop_compare_fusion grid: [8, 1, 1]
      body:
        006: kCopy         [source       | next=007 (8)] kCopy
        007: kWhile        [prev=006 (1) | sink        ]           \n\
condition:
            008: kCustomKernel [source | sink] loop_compare_fusion grid: [8, 1, 1]
          body:
            009: kCustomKernel [source | next=010 (1)] loop_tanh_fusion grid: [8, 1, 1]
            010: kCublasLtMatmul [prev=009 (1) | sink] kCublasLtMatmul
"""
OUTSIDE = """000: kCommandBuffer [source       | next=004 (1)] \n\
    001: kCopy         [source | sink] kCopy
004: kWhile         [prev=000 (1) | sink        ]   \n\
condition:
    005: kCustomKernel [source | sink] loop_compare_fusion grid: [8, 1, 1]
  body:
    000: kCommandBuffer [source       | next=007 (1)] \n\
        006: kCustomKernel [source       | sink] gemm_fusion_dot_2 grid: [8, 1, 1]
    007: kDynamicSliceFusion [prev=006 (1) | next=009 (1)] params=1, results=1
        008: kCopy [source | sink] kCopy
    009: kCustomKernel [prev=007 (1) | sink] loop_tanh_fusion grid: [8, 1, 1]
"""
LOOPS = """HloModule jit_f, is_scheduled=true

%fused_update (param_0.4: bf16[1,96,8], param_1.4: bf16[1,1,8,1], param_2.5: s32[]) -> (bf16[1,96,8], f32[8]) {
  %param_0.4 = bf16[1,96,8]{2,1,0} parameter(0), metadata={scheduling_name="param_0.4"}
  %param_1.4 = bf16[1,1,8]{2,1,0} parameter(1)
  %param_2.5 = s32[] parameter(2)
  %constant_3 = s32[] constant(0)
  %update.1 = bf16[1,96,8]{2,1,0} dynamic-update-slice(%param_0.4, %param_1.4, %constant_3, %param_2.5, %constant_3)
  %bitcast.9 = bf16[1,96,8]{2,1,0} bitcast(%update.1)
  %convert.1 = f32[8]{0} convert(%param_1.4)
  ROOT %tuple.9 = (bf16[1,96,8]{2,1,0}, f32[8]{0}) tuple(%bitcast.9, %convert.1), metadata={scheduling_name="tuple.9"}
}

%fused_pad (param_0.5: bf16[1,96,8]) -> bf16[1,96,8] {
  %param_0.5 = bf16[1,96,8]{2,1,0} parameter(0)
  ROOT %pad.1 = bf16[1,96,8]{2,1,0} pad(%param_0.5, %constant_9), padding=0_0x0_4x0_0
}

ENTRY %main.7 (w.1: bf16[1,96,8], x.1: bf16[1,1,8]) -> (bf16[1,96,8], s32[]) {
  %w.1 = bf16[1,96,8]{2,1,0} parameter(0), sharding={replicated}
  %write = (bf16[1,96,8]{2,1,0}, f32[8]{0}) fusion(%w.1, %x.1, %n), kind=kLoop, calls=%fused_update, metadata={op_name="jit(f)/w"}
  %roll = bf16[1,96,8]{2,1,0} fusion(%w.1), kind=kLoop, calls=%fused_pad
  %copy.14 = bf16[1,96,8]{2,1,0} copy(%w.1)
  %while.3 = (s32[], bf16[1,96,8]{2,1,0}) while(%tuple.1), condition=%r.1, body=%r.2, metadata={op_name="jit(f)/while"}
  %while.8 = (s32[], bf16[1,96,8]{2,1,0}) while(%tuple.2), condition=%r.3, body=%r.4, backend_config={"known_trip_count":{"n":"224"},"known_init_step":{"init":"0","step":"1"}}
  ROOT %tuple.7 = (bf16[1,96,8]{2,1,0}, s32[]) tuple(%copy.14, %n)
}
"""  # noqa: E501
CONVOLUTIONS = """ENTRY %main (x.1: f32[2,32,32,32], k.1: f32[4,4,2,128]) -> f32[128,4,4,2] {
  %x.1 = f32[2,32,32,32]{3,2,1,0} parameter(1), sharding={replicated}
  %k.1 = f32[128,4,4,2]{3,2,1,0} fusion(%k.0), kind=kInput, calls=%wrapped_transpose_computation
  %cudnn-conv.1 = (f32[2,15,15,128]{3,2,1,0}, u8[0]{0}) custom-call(%x.1, %k.1), window={size=4x4 stride=2x2}, dim_labels=b01f_o01i->b01f, feature_group_count=16, custom_call_target="__cudnn$convForward", metadata={op_name="a"}
  %get-tuple-element.7 = f32[2,15,15,128]{3,2,1,0} get-tuple-element(%cudnn-conv.1), index=0
  %cudnn-conv-bw-filter.1 = (f32[128,4,4,2]{0,3,2,1}, u8[0]{0}) custom-call(%x.1, %get-tuple-element.7), window={size=4x4 stride=2x2}, dim_labels=b01f_o01i->b01f, feature_group_count=16, custom_call_target="__cudnn$convBackwardFilter"
  %pad = f32[2,304,64]{2,1,0} fusion(%x.1), kind=kLoop, calls=%fused_pad
  %wide = (f32[2,256,64]{2,1,0}, u8[0]{0}) custom-call(%pad, %k.1, %b), window={size=49}, dim_labels=b0f_o0i->b0f, custom_call_target="__cudnn$convBiasActivationForward"
  %spread = (f32[2,256,64]{2,1,0}, u8[0]{0}) custom-call(%pad, %k.1), window={size=4 pad=0_0 rhs_dilate=16}, dim_labels=b0f_o0i->b0f, custom_call_target="__cudnn$convForward"
  %v = bf16[2,64,9,18,18]{4,3,2,1,0} fusion(%x.1), kind=kInput, calls=%fused_transpose
  %video = (bf16[2,64,8,16,16]{4,3,2,1,0}, u8[0]{0}) custom-call(%v, %k.1), window={size=2x3x3}, dim_labels=bf012_oi012->bf012, custom_call_target="__cudnn$convForward"
  %turned = f32[2,64,9,18]{1,3,2,0} fusion(%x.1), kind=kInput, calls=%fused_transpose
  %in-place = (f32[2,64,9,18]{1,3,2,0}, u8[0]{0}) custom-call(%turned, %k.1), window={size=1x1}, dim_labels=bf01_oi01->bf01, custom_call_target="__cudnn$convForward"
  %stayed = f32[3,3,64,64]{3,2,1,0} convolution(%x.1, %x.1), window={size=15x15 pad=1_1x1_1}, dim_labels=f01b_i01o->01bf
  %sums = f32[2,4]{1,0} reduce-window(%x.1, %c), window={size=1x9999}, to_apply=%add
}
"""  # noqa: E501


def test_a_captured_loop():
  found = hlo.thunks(CAPTURED, METADATA)
  outer, inner = (thunk for thunk in found if thunk.kind == "kWhile")
  assert (outer.name, inner.name) == ("while.8", "while.3")
  assert outer.captured() and inner.captured()
  assert [thunk.name for thunk in found[-1].loops()] == ["while.8", "while.3"]
  assert found[-2].name == "loop_tanh_fusion.2"
  assert hlo.launched([t for t in found if t.loops()], {"while.8": 5, "while.3": 224}) == 5 * (2 + 224 * 3)
  assert hlo.runs(found[-1], {"while.8": 5, "while.3": None}) == 5, "unknown: once"


def test_a_loop_that_is_left_to_the_host():
  found = hlo.thunks(OUTSIDE, METADATA)
  (loop,) = (thunk for thunk in found if thunk.kind == "kWhile")
  assert not loop.captured()
  assert sum(thunk.kind == "kCommandBuffer" for thunk in found) == 2
  assert [thunk.kind for thunk in found if thunk.launches and thunk.loops()] == ["kCustomKernel"] * 2 + [
    "kCopy",
    "kCustomKernel",
  ], "a slice that is copied launches one copy"


def test_trips_and_what_is_written():
  module = hlo.Module(LOOPS)
  assert module.trips() == {"while.3": None, "while.8": 224}
  assert module.written("write") == ["f32[8]{0}"], "the update is in place"
  assert module.written("roll") == module.written("copy.14") == ["bf16[1,96,8]{2,1,0}"]
  assert module.instructions["write"].op_name == "jit(f)/w"
  assert module.instructions["write"].operands == ("w.1", "x.1", "n")
  assert hlo.plain_shape("bf16[1,96,1,8]{3,2,1,0}") == "bf16[96,8]"


def test_windows_and_layouts():
  found = [(c.window, c.layouts) for c in hlo.convolutions(hlo.Module(CONVOLUTIONS))]
  assert found == [
    ((4, 4), ("NHWC", "NHWC")),
    ((4, 4), ("NHWC", "NHWC")),
    ((49,), ("NHWC", "NHWC")),
    ((49,), ("NHWC", "NHWC")),
    ((2, 3, 3), ("NCHW", "NCHW")),
    ((1, 1), ("NHWC", "NHWC")),
    ((15, 15), ("f01b", "01bf")),
  ]


def test_gates_that_fail_are_named():
  gates = {"a": ("at most", 26), "b": ("exactly", 1), "c": ("exactly", "NHWC")}
  assert static_gpu.failed_gates({"a": 26, "b": 1, "c": "NHWC", "d": 9}, gates) == []
  assert static_gpu.failed_gates({"a": 26.5, "b": 0, "c": "NCHW, NHWC"}, gates) == [
    "a is 26.5, wanted at most 26",
    "b is 0, wanted exactly 1",
    "c is NCHW, NHWC, wanted exactly NHWC",
  ]
  assert static_gpu.failed_gates({"a": 1, "b": 1}, gates) == ["c is not measured, wanted exactly NHWC"]


def test_without_the_compiler_it_says_so():
  if importlib.util.find_spec("jax_cuda13_plugin"):
    pytest.skip("XLA's compiler for CUDA is in this environment")
  done = subprocess.run([sys.executable, "-m", "benchmarks.xla.gates"], cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 2
  assert "make gates" in done.stderr and len(done.stderr.splitlines()) == 1


PLAIN = """
import json, jax, jax.numpy as jnp
from benchmarks.xla import cost, gates as static_gpu
from nwt_jax import build
from nwt_jax.generate import mar_reference

jax.config.update("jax_enable_compilation_cache", False)
array, model = jax.ShapeDtypeStruct, build.prior("mar", cost.read("mar").model)
params = jax.eval_shape(lambda: build.init_prior(model, jax.random.key(0)))
state = jax.eval_shape(lambda: mar_reference.init_state(model, 1))
cond = tuple(array((1, 2, model.positions, model.linear_dim), jnp.float32) for _ in model.blocks)
keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
plain = lambda *args: mar_reference.sample_chunk(model, *args)
lowered = static_gpu.lower(plain, params, state, cond, keys, array((), jnp.int32), array((), jnp.float32), donate=1)
rings = static_gpu.as_printed(jax.tree.leaves(state.cache))
print(json.dumps(static_gpu.sampling_facts("plain", static_gpu.Program(lowered, 2 * model.positions, "step", rings))))
"""


@pytest.mark.slow
def test_a_plain_scan_does_not_pass():
  python = ROOT / ".venv-gates" / "bin" / "python"
  if not python.exists() or subprocess.run([python, "-c", "import jax_plugins.xla_cuda13"]).returncode:
    pytest.skip("XLA's compiler for CUDA is not here; `make gates` brings it")
  env = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
  done = subprocess.run([python, "-c", PLAIN], cwd=ROOT, env=env, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  facts = json.loads(done.stdout.splitlines()[-1])
  assert facts["plain.kernels_per_step"] > 40
  assert facts["plain.ring_copies"] == 20, "each of ten rows rolls its cache once a frame: padded, then copied"
  assert facts["plain.temp_bytes"] > 5_000_000
  assert (facts["plain.command_buffers"], facts["plain.loops_outside"]) == (1, 0)
