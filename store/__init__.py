"""Runs, matrices, generations and GPU samples in one SQLite file."""

from store.comparison import Cell, Comparison, ComparisonRow
from store.errors import FilterError, StoreError, UnknownRunError
from store.rows import GenerationRow, GpuSampleRow, MatrixRow, MemoryPair, MemoryRow, MetricRow, Run, RunRow
from store.store import Store
from store.task_scores import task_metrics
from store.votes import Tally, VoteRow

__all__ = [
    "Cell",
    "Comparison",
    "ComparisonRow",
    "FilterError",
    "GenerationRow",
    "GpuSampleRow",
    "MatrixRow",
    "MemoryPair",
    "MemoryRow",
    "MetricRow",
    "Run",
    "RunRow",
    "Store",
    "StoreError",
    "Tally",
    "UnknownRunError",
    "VoteRow",
    "task_metrics",
]
