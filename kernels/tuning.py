"""Tiles measured on this very GPU, for those that `kernels.tiles` has no measured table of.

Only where asked, with FQCONSOLE_TUNE=1 in the environment: the first use of a shape then times a short list
of tiles (a compilation of a second or two each), and the fastest is kept in a file. What was kept is used by
every later session, asked or not.

A file belongs to one GPU model, one version of Triton and one state of these kernels, which its name and its
contents say, so an upgrade starts anew. A file that can't be read or says otherwise is left aside with a
warning.
"""

import functools
import hashlib
import json
import logging
import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import platformdirs
import torch

from kernels.epilogue import Epilogue
from kernels.lane_layout import LaneMatrix
from kernels.tiles import Gpu, Tile

SWITCH = "FQCONSOLE_TUNE"
FLUSHED_BYTES = 256 << 20  # written between two runs: more than any L2 holds
RUNS = 9
LARGEST_FRAGMENTS = 4  # n_tiles * row_tiles * depth of a candidate: what registers hold

logger = logging.getLogger(__name__)
Measure = Callable[[Tile], float]


@dataclass(frozen=True)
class Problem:
    """What a tile is chosen for: x `[m, k]` times a matrix `[n, k]`; `m` is a `row_bucket`."""

    bits: int
    group_size: int | None
    m: int
    n: int
    k: int
    dtype: str
    paired: bool = False

    @property
    def key(self) -> str:
        group = "channel" if self.group_size is None else f"group {self.group_size}"
        paired = ", paired" if self.paired else ""
        return f"int{self.bits} {group}, {self.dtype}, {self.m} x {self.n} x {self.k}{paired}"


def candidates(chosen: Tile, steps: int, *, paired: bool) -> tuple[Tile, ...]:
    """What is tried: `chosen`, then its neighbours that `steps` steps along K keep busy."""
    tiles = [chosen]
    for row_tiles in (2,) if paired else (1, 2):
        for warps in (4, 8):
            for depth in (1, 2):
                fragments = chosen.n_tiles * row_tiles * depth
                if warps > steps or (fragments > LARGEST_FRAGMENTS and depth > 1):
                    continue
                tile = replace(chosen, row_tiles=row_tiles, warps=warps, depth=depth, unroll=1, stream=False)
                tiles += [replace(tile, programs=programs) for programs in (0, 2)]
                if depth == 1 and warps == 4:  # what was fastest on an H200
                    tiles.append(replace(tile, programs=3, stream=True))
                    tiles.append(replace(tile, programs=4, unroll=2, stream=True))
                elif depth == 1:
                    tiles += [replace(tile, programs=2, unroll=2, stream=stream) for stream in (False, True)]
    return tuple(dict.fromkeys(tiles))


class Tuner:
    """The measured tiles of one kind of GPU, in a file of `folder`; `stamp` says what they belong to."""

    def __init__(self, folder: Path, stamp: Mapping[str, str | int]) -> None:
        self.stamp = dict(stamp)
        name = hashlib.sha256(json.dumps(self.stamp, sort_keys=True).encode()).hexdigest()[:16]
        self.file = folder / f"tiles-{name}.json"
        self.tiles = self.read(warn=True)

    def known(self, problem: Problem) -> Tile | None:
        """The tile measured for `problem`, if it was."""
        return self.tiles.get(problem.key)

    def tune(self, problem: Problem, tiles: tuple[Tile, ...], measure: Measure) -> Tile:
        """The fastest of `tiles` by `measure`, in seconds; kept for later sessions.

        A tile for which `measure` raises RuntimeError, since the GPU has no room for it, drops out. Raises
        RuntimeError where all do.
        """
        times: dict[Tile, float] = {}
        for tile in tiles:
            try:
                times[tile] = measure(tile)
            except RuntimeError as error:
                logger.info("%s with %s: %s", problem.key, tile, error)
        if not times:
            raise RuntimeError(f"no tile runs for {problem.key}")
        best = min(times, key=times.__getitem__)
        logger.info("%s: %s, %.1f us", problem.key, best, times[best] * 1e6)
        self.keep(problem, best)
        return best

    def keep(self, problem: Problem, tile: Tile) -> None:
        """Add a choice to the file, beside those that other processes have added meanwhile."""
        self.tiles = self.read(warn=False) | self.tiles | {problem.key: tile}
        text = json.dumps(
            self.stamp | {"tiles": {key: asdict(kept) for key, kept in sorted(self.tiles.items())}}, indent=1
        )
        part = self.file.with_suffix(f".{os.getpid()}.part")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(text)
            part.replace(self.file)
        except OSError as error:
            logger.warning("Measured tiles are not kept: %s", error)

    def read(self, *, warn: bool) -> dict[str, Tile]:
        """The file's choices; none where it is missing, broken or measured with something else."""
        try:
            found = json.loads(self.file.read_text())
            if {name: found[name] for name in self.stamp} != self.stamp:
                raise ValueError("it was measured with something else")
            return {key: tile_of(numbers) for key, numbers in found["tiles"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if warn:
                logger.warning("Measured tiles in %s are left aside: %s", self.file, error)
            return {}


def tile_of(numbers: Mapping[str, Any]) -> Tile:
    """Raises ValueError or TypeError where `numbers` are no tile."""
    tile = Tile(**numbers)
    counts = [number for name, number in asdict(tile).items() if name != "stream"]
    if type(tile.stream) is not bool or not all(type(number) is int and number >= 0 for number in counts):
        raise ValueError(f"{dict(numbers)} is no tile")
    if tile.warps not in (1, 2, 4, 8, 16) or not tile.n_tiles or not tile.row_tiles:
        raise ValueError(f"{dict(numbers)} is no tile")
    return tile


def cache_folder() -> Path:
    """Where measured tiles are kept: with all that can be made again, under FQCONSOLE_HOME if it is set."""
    home = os.environ.get("FQCONSOLE_HOME")
    root = Path(home).expanduser() / "cache" if home else platformdirs.user_cache_path("fqconsole", False)
    return root / "kernels"


@functools.cache
def source_hash() -> str:
    """Of the kernels' own source: a tile measured with other kernels says nothing."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def tuner_of(device: torch.device) -> Tuner:
    """The one tuner of a GPU in this process."""
    import triton

    properties = torch.cuda.get_device_properties(device)
    stamp: dict[str, str | int] = {
        "gpu": properties.name,
        "capability": properties.major * 10 + properties.minor,
        "triton": triton.__version__,
        "kernels": source_hash(),
    }
    return Tuner(cache_folder(), stamp)


def is_asked_for() -> bool:
    """Whether the operator wants missing tiles measured."""
    return os.environ.get(SWITCH, "") not in ("", "0")


def tuned_tile(w: LaneMatrix, chosen: Tile, m: int, gpu: Gpu, *, paired: bool) -> Tile:
    """The tile for `w` and `m` rows (a bucket): as measured before, as measured now if asked, or `chosen`.

    Nothing is measured while a CUDA graph is captured.
    """
    tuner = tuner_of(w.device)
    problem = Problem(w.bits, w.group_size, m, w.n, w.k, str(w.dtype).removeprefix("torch."), paired)
    known = tuner.known(problem)
    if known is not None:
        return known
    if not is_asked_for() or torch.cuda.is_current_stream_capturing():
        return chosen
    tiles = candidates(chosen, w.steps, paired=paired)
    return tuner.tune(problem, tiles, lambda tile: seconds_of(w, tile, m, gpu, paired=paired))


def seconds_of(w: LaneMatrix, tile: Tile, m: int, gpu: Gpu, *, paired: bool) -> float:
    """Median time of one multiplication with the weights out of L2. On the current device.

    Raises RuntimeError where Triton can't compile or launch the tile.
    """
    from triton.errors import TritonError

    from kernels.decode_plan import DecodePlan

    plan = DecodePlan(w, tile, gpu, paired=paired)
    epilogue = Epilogue(activation="silu" if paired else None)
    x = torch.randn(m, w.k, device=w.device, dtype=torch.float32).to(w.dtype)
    flushed = torch.empty(FLUSHED_BYTES, dtype=torch.int8, device=w.device)
    try:
        plan.multiply(x, epilogue)
    except TritonError as error:
        raise RuntimeError(str(error)) from error
    times: list[float] = []
    for _ in range(RUNS):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        flushed.zero_()  # also gives the host time to send what is measured
        start.record()
        plan.multiply(x, epilogue)
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) * 1e-3)
    return statistics.median(times)
