"""What the preview measures against."""

from pathlib import Path

import pytest

from fqconsole.errors import UsageError
from fqconsole.fit import capacity_here, named_gpu
from fqconsole.fit.capacity import CATALOGUE, catalogued_bandwidth
from fqconsole.fit.host import _container_limit, host_memory
from fqconsole.gpus import GpuSnapshot

GIB = 1 << 30


def snapshot(index, total, free, name="NVIDIA H100 80GB HBM3"):
    return GpuSnapshot(index, name, f"GPU-{index}", memory_total=total, memory_free=free)


def test_free_memory_counts_and_the_emptiest_gpu_goes_first():
    found = capacity_here((snapshot(0, 80 * GIB, 5 * GIB), snapshot(1, 80 * GIB, 70 * GIB)))
    assert (found.kind, found.name, found.free_bytes, found.total_bytes) == (
        "gpu", "H100 80GB HBM3", 70 * GIB, 80 * GIB,
    )  # fmt: skip
    assert found.free_per_gpu == (70 * GIB, 5 * GIB)
    assert [free // GIB for free in found.rooms(3)] == [70, 5, 5]
    assert found.rooms(1, margin=0.5) == (35 * GIB,)


def test_without_a_readable_gpu_it_is_this_machines_memory():
    for snapshots in ((), (snapshot(0, None, None),)):
        found = capacity_here(snapshots)
        assert (found.kind, found.free_per_gpu) == ("host", ())
        assert 0 < found.free_bytes <= found.total_bytes


def test_the_catalogue():
    for name in ("a100-40gb", "a100-80gb", "h100-80gb", "h200-141gb", "l4-24gb", "l40s-48gb", "rtx3090-24gb",
                 "rtx4090-24gb", "rtx5090-32gb"):  # fmt: skip
        found = named_gpu(name)
        assert found.kind == "named gpu"
        assert found.source == "vendor's nominal"
    for name, gpu in CATALOGUE.items():
        assert gpu.id == name == name.lower()
        assert name.endswith(f"-{gpu.nominal_gb}gb")
        # Between the nominal size taken as GB and as GiB.
        assert 0.85 * gpu.nominal_gb * 1e9 < gpu.free_bytes < gpu.total_bytes <= 1.03 * gpu.nominal_gb * GIB
    assert named_gpu(" H100-80GB ").name == "H100 80GB"


@pytest.mark.parametrize(
    ("typed", "near"), [("h100", "h100-80gb"), ("rtx4090", "rtx4090-24gb"), ("xyz", "a100-40gb")]
)
def test_an_unknown_gpu_names_the_nearest(typed, near):
    with pytest.raises(UsageError, match=f"no GPU called '{typed}'") as caught:
        named_gpu(typed)
    assert near in caught.value.next_step


def test_a_containers_limit_counts(tmp_path):
    assert _container_limit(tmp_path) == (None, 0)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert _container_limit(tmp_path) == (None, 0)
    (tmp_path / "memory.max").write_text("4000\n")
    assert _container_limit(tmp_path) == (4000, 1000)
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 300\n")
    assert _container_limit(tmp_path) == (4000, 700)


def test_host_memory_is_positive():
    total, available = host_memory()
    assert 0 < available <= total


def test_the_docs_name_every_gpu_of_the_catalogue():
    page = (Path(__file__).parents[2] / "docs" / "fit.md").read_text()
    assert [name for name in CATALOGUE if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    ("name", "gib", "gb_s"),
    [
        ("NVIDIA H200", 140.4, 4800),
        ("NVIDIA H100 80GB HBM3", 79.6, 3350),
        ("NVIDIA H100 NVL", 93.6, 3938),
        ("NVIDIA A100-SXM4-80GB", 79.3, 2039),
        ("NVIDIA A100-SXM4-40GB", 39.6, 1555),
        ("NVIDIA GeForce RTX 4060 Ti", 16.0, 288),
        ("NVIDIA GeForce RTX 4060 Ti", 8.0, 0),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16.0, 0),
        ("NVIDIA RTX 6000 Ada Generation", 48.0, 960),
        ("NVIDIA RTX A6000", 48.0, 768),
        ("Tesla T4", 15.0, 320),
        ("NVIDIA Something 9", 15.0, 0),
    ],
)
def test_the_bandwidth_of_a_gpu_here_comes_from_its_name_and_size(name, gib, gb_s):
    assert catalogued_bandwidth(name, int(gib * GIB)) == gb_s * 10**9


def test_gpus_before_the_kernels_and_machines_with_one_memory_say_so():
    old = GpuSnapshot(0, "Tesla V100", "GPU-0", memory_total=32 * GIB, memory_free=31 * GIB, capability=70)
    assert not capacity_here((old,)).fused
    assert not named_gpu("v100-32gb").fused
    assert named_gpu("a100-40gb").fused
    shared = GpuSnapshot(
        0, "NVIDIA GB10", "GPU-0", memory_total=120 * GIB, memory_free=90 * GIB, unified_memory=True
    )
    here = capacity_here((shared,))
    assert (here.kind, here.unified, here.fused) == ("gpu", True, True)
    assert named_gpu("gb10-128gb").unified


def test_a_list_of_gpus_is_one_machine_the_largest_first():
    found = named_gpu("rtx4090-24gb, a100-80gb")
    assert found.name == "A100 80GB + RTX 4090"
    assert found.free_per_gpu == (named_gpu("a100-80gb").free_bytes, named_gpu("rtx4090-24gb").free_bytes)
    assert found.bandwidths(3) == (2039 * 10**9, 1008 * 10**9, 1008 * 10**9)
    with pytest.raises(UsageError, match="no GPU called 'h100'"):
        named_gpu("a100-80gb,h100")
