"""The device: what it says of itself is true, and a card that is not there is not chosen."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.device import api, cuda, host, npu, peaks

HAS_CARD = torch.accelerator.current_accelerator(check_available=True) is not None
SRC = Path(api.__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Every test may choose; none leaves its choice behind."""
    monkeypatch.setattr(api, "_current", None)
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(HAS_CARD, reason="this host has an accelerator")
def test_without_an_accelerator_the_processor_is_chosen():
    assert api.choose("auto").kind == "cpu"
    assert api.current() is api.choose()


def test_an_unknown_device_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="no device 'gpu'") as error:
        api.choose("gpu")
    assert "cuda" in error.value.hint and "npu" in error.value.hint


@pytest.mark.skipif(HAS_CARD, reason="this host has an accelerator")
@pytest.mark.parametrize("kind", ["cuda", "npu"])
def test_an_absent_accelerator_is_refused_with_the_reason(kind):
    with pytest.raises(UserError, match=f"no {kind} here: .+"):
        api.choose(kind)


def test_every_rank_of_a_host_shares_the_processor(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert api.choose("cpu").torch == torch.device("cpu")


def test_the_default_dtype_of_a_processor_is_bf16_only_where_it_has_instructions_for_it():
    native = torch.cpu._is_avx512_bf16_supported() or "amx_bf16" in host.read("/proc/cpuinfo")
    assert api.choose("cpu").default_dtype() is (torch.bfloat16 if native else torch.float32)


def test_autocast_computes_in_what_it_was_given_and_float32_means_no_autocast():
    device = api.choose("cpu")
    x = torch.ones(4, 4)
    with device.autocast(torch.bfloat16):
        assert (x @ x).dtype is torch.bfloat16
    with device.autocast(torch.float32):
        assert (x @ x).dtype is torch.float32


def test_random_numbers_go_on_from_a_saved_state():
    device = api.choose("cpu")
    device.seed(7)
    torch.rand(3)
    state = device.rng_state()
    first = torch.rand(5)
    device.set_rng_state(state)
    assert torch.equal(torch.rand(5), first)


def test_the_same_bits_every_time_are_asked_of_torch():
    try:
        api.choose("cpu").repeat_exactly()
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_memory_counts_what_is_held():
    device = api.choose("cpu")
    held = torch.ones(16 << 20, dtype=torch.uint8).repeat(4)
    after = device.memory()
    assert after["used"] > held.nbytes  # pages freed before are kept, so the growth says nothing
    assert after["used"] <= after["peak"] <= after["total"]
    del held
    device.reset_peak()
    assert device.memory()["peak"] <= after["peak"]


def test_running_out_of_memory_is_told_from_other_errors():
    device = api.choose("cpu")
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 60)
    assert device.is_out_of_memory(error.value)
    assert device.is_out_of_memory(torch.OutOfMemoryError("x")) and device.is_out_of_memory(MemoryError())
    assert not device.is_out_of_memory(RuntimeError("shapes differ")) and not device.is_out_of_memory(
        KeyError("out of memory")
    )


def test_the_measured_ceiling_is_measured_once():
    device = api.choose("cpu")
    ceiling = device.matmul_ceiling(torch.float32)
    assert ceiling > 1e8
    assert device.matmul_ceiling(torch.float32) == ceiling


def test_peaks_are_of_the_exact_chip_or_unknown():
    assert peaks.peak("NVIDIA H100 PCIe", torch.bfloat16) < peaks.peak(
        "NVIDIA H100 80GB HBM3", torch.bfloat16
    )
    for name in ("NVIDIA H100", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "Ascend910B3", "", "AMD EPYC"):
        assert peaks.peak(name, torch.bfloat16) is None
    assert peaks.peak("Tesla V100-SXM2-16GB", torch.bfloat16) is None  # it has none
    assert peaks.peak("NVIDIA H200", torch.float32) is None
    assert api.choose("cpu").peak_flops(torch.bfloat16) is None


def test_without_a_compiler_torch_compile_is_off_and_the_remedy_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("CXX", raising=False)
    assert "install g++" in (api.choose("cpu").why_no_compile() or "")
    monkeypatch.setenv("CXX", sys.executable)  # any program there is
    assert "compiler" not in (api.choose("cpu").why_no_compile() or "")


@given(st.lists(st.integers(1, 9), max_size=6), st.integers(0, 20))
def test_borders_for_the_kernels_keep_every_sample_and_reach_the_end(lengths, padding):
    bounds = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
    N = sum(lengths) + padding
    longest = max(lengths, default=1)
    covering = cuda.covering(bounds, longest, N).tolist()
    assert covering[: len(bounds)] == bounds.tolist() and covering[-1] == N
    assert all(0 <= b - a <= longest for a, b in itertools.pairwise(covering))
    if N:
        assert npu.ends(bounds, N)[-1] == N and npu.ends(bounds, N)[: len(lengths)] == bounds.tolist()[1:]


FAKE = """
import types, torch
torch.utils.rename_privateuse1_backend("npu")
class Npu(types.ModuleType):
    flag, count, config, set_to, compiled = False, {count}, types.SimpleNamespace(), None, None
    def is_available(self): return self.count > 0
    def device_count(self): return self.count
    def is_bf16_supported(self): return {new}
    def get_device_name(self, index): return "{name}"
    def set_device(self, index): self.set_to = index
    def set_compile_mode(self, jit_compile): self.compiled = jit_compile
    def get_npu_overflow_flag(self): return self.flag
    def clear_npu_overflow_flag(self): self.flag = False
    utils = types.SimpleNamespace(is_support_inf_nan=lambda: {new})
torch.npu = Npu("torch.npu")
"""

ASK = """
import json, torch
from danlu.base.errors import UserError
from danlu.device import api
try:
    device = api.choose("npu")
except UserError as error:
    print(json.dumps({"error": str(error)}))
    raise SystemExit
said = {
    "dtype": str(device.default_dtype()), "inf_nan": device.traits.inf_nan, "device": str(device.torch),
    "backend": device.backend, "sums bf16": torch.bfloat16 in device.traits.reduce_dtypes,
    "ops": sorted(device.ops),
    "jit": torch.npu.compiled, "tiled": vars(torch.npu.config).get("allow_internal_format", True),
    "set": torch.npu.set_to, "compile": device.why_no_compile(), "peak": device.peak_flops(torch.float16),
}
try:
    device.check(torch.bfloat16)
except UserError as error:
    said["bf16"] = str(error)
device.clear_overflow()
torch.npu.flag = True
said["overflowed"] = device.overflowed()
device.clear_overflow()
said["cleared"] = not device.overflowed()
print(json.dumps(said))
"""


def ask_npu(
    folder: Path, name: str = "Ascend910B3", new: bool = True, count: int = 8, package: str = FAKE, **env: str
):
    """What the engine says of an Ascend chip, in a process of its own: the fake changes torch for good."""
    text = (
        package
        if package is not FAKE
        else FAKE.replace("{count}", str(count)).replace("{new}", str(new)).replace("{name}", name)
    )
    (folder / "torch_npu.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env=os.environ
        | {"PYTHONPATH": f"{folder}{os.pathsep}{SRC}", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
        | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def test_an_importable_torch_npu_without_a_card_is_not_a_card(tmp_path):
    assert "no chip can be used" in ask_npu(tmp_path, count=0)["error"]


def test_a_torch_npu_that_does_not_load_is_explained(tmp_path):
    said = ask_npu(tmp_path, package="raise ImportError('libhccl.so: cannot open shared object file')")
    assert "libhccl.so" in said["error"]


def test_a_rank_without_a_chip_of_its_own_is_refused(tmp_path):
    assert "process 8" in ask_npu(tmp_path, LOCAL_RANK="8")["error"]


def test_the_new_class_trains_in_bf16(tmp_path):
    said = ask_npu(tmp_path, LOCAL_RANK="5")
    assert said["dtype"] == "torch.bfloat16" and said["inf_nan"] and said["sums bf16"] and "bf16" not in said
    assert said["device"] == "npu:5" and said["set"] == 5 and said["backend"] == "hccl"
    assert said["jit"] is False and said["tiled"] is False and "attention" in said["ops"]
    assert said["compile"] and said["peak"] is None
    assert not said["overflowed"]  # Inf shows there; the flag is not asked


def test_the_plain_910b_is_of_the_old_class_in_spite_of_its_name(tmp_path):
    said = ask_npu(tmp_path, name="Ascend910B", new=False)
    assert said["dtype"] == "torch.float16" and not said["inf_nan"] and not said["sums bf16"]
    assert "has no bfloat16" in said["bf16"] and "dtype=float16" in said["bf16"]
    assert said["tiled"] and said["ops"] == ["rotary"]
    assert said["overflowed"] and said["cleared"]
