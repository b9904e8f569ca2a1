"""Norms of rows, measured in one thread: what `choose_channels` does beside other work."""

import torch

from quantizer.pipeline import Pipeline
from quantizer.row_norms import RowNorms


def measured(rows: RowNorms, device: torch.device) -> dict[str, torch.Tensor]:
    with Pipeline(rows.lanes(), [device], readers=1, depth=4) as pipeline:
        for done in pipeline.results():
            rows.take(done)
    return rows.found()
