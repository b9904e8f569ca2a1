"""`fqconsole fit --probe`: measure what is not arithmetic, once for each driver, GPU, torch and triton."""

from typing import TYPE_CHECKING

from fqconsole.cli.output import Output
from fqconsole.errors import OperatorError

if TYPE_CHECKING:
    from fqconsole.device_probe import Probe


def probed_here(output: Output, device: str) -> "Probe":
    """Run the job, keep what it found and return it."""
    from fqconsole.cli.job_driver import JobDriver
    from fqconsole.cli.run_store import open_store
    from fqconsole.fit.probe import keep_probe
    from fqconsole.jobs.messages import AnyEvent, ProbeDone, StartProbe

    found: list[Probe] = []

    def watch(event: AnyEvent) -> None:
        if isinstance(event, ProbeDone):
            found.append(event.probe)

    with open_store() as store:
        JobDriver(store, output).run(StartProbe(device=device), "", watch)
    if not found:
        raise OperatorError("The probe ended without a result.", "Run it again.")
    keep_probe(found[0])
    return found[0]


def page(probe: "Probe") -> str:
    """The finding as text."""
    from fqconsole.cli.quantities import duration, size
    from fqconsole.fit.probe import host_name

    lines = [f"{probe.device}, torch {probe.torch}, triton {probe.triton or 'none'}"]
    if probe.device != host_name():
        lines[0] += f", driver {probe.driver or 'unknown'}"
        lines += [
            f"  CUDA context      {size(probe.context_bytes):>9}",
            f"  loaded kernels    {size(probe.kernels_bytes):>9}",
            f"  workspace         {size(probe.workspace_bytes):>9}",
            f"  allocator         {probe.rounding:>9.1%}  on top of pieces of many sizes",
        ]
    lines += [
        f"  process           {size(probe.process_bytes):>9}",
        f"  memory bandwidth  {probe.bandwidth / 1e9:>9,.0f}  GB/s",
        f"  time              {duration(probe.seconds):>9}",
    ]
    return "\n".join(lines)
