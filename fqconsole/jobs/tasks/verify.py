"""The verify job: every checksum of a checkpoint, and what its source gives, compared with what is stored."""

import time
from pathlib import Path

from fqconsole.jobs.desk import Desk
from fqconsole.jobs.messages import StartVerify, VerificationDone
from quantizer.verification import verify

smallest_change = "Free memory on the GPU, or verify with --device cpu."


def run(request: StartVerify, desk: Desk) -> None:
    """Verify `request.checkpoint_path`."""
    found = verify(
        Path(request.checkpoint_path),
        every=request.every,
        source=None if request.source_path is None else Path(request.source_path),
        device=request.device,
        watch=desk.watch,
    )
    desk.put(VerificationDone(t=time.time(), verification=found))
