"""One model that is loaded, or is being loaded, in a worker of its own."""

from typing import Literal

from fqconsole.app import formatting
from fqconsole.app.job_runner import JobHandle, JobRunner
from fqconsole.app.session_requests import opening_request
from fqconsole.app.workspace import SessionChoice
from fqconsole.endpoints.address import is_address
from fqconsole.jobs.messages import AnyEvent, JobFailed, PhaseStarted, Progress, Request, SessionReady

SessionState = Literal["closed", "loading", "ready", "failed"]
OUT_OF_MEMORY_EXIT = 4


class ModelSession:
    """Opened when asked and kept warm between prompts; "failed" is a worker that ended by itself."""

    def __init__(self, choice: SessionChoice, jobs: JobRunner) -> None:
        self.choice = choice
        self.ready: SessionReady | None = None
        self.problem = ""
        self.out_of_memory = False
        self.weights_bytes: int | None = None  # measured when it was last loaded
        self.served = is_address(choice.path)  # by another machine or program, whatever its precision there
        sixteen = choice.bits == 16 and not self.served
        self.bits_per_weight: float | None = 16.0 if sixteen else None  # of the quantized matrices
        self._jobs = jobs
        self._handle: JobHandle | None = None
        self._phase = ""
        self._progress: Progress | None = None

    @property
    def state(self) -> SessionState:
        if self._handle is not None:
            return "ready" if self.ready is not None else "loading"
        return "failed" if self.problem else "closed"

    @property
    def precision(self) -> str:
        """`int4`, `16-bit`; of a model that a server has nobody knows."""
        return "server" if self.served else formatting.precision(self.choice.bits)

    @property
    def has_template(self) -> bool:
        """It is ready and takes a conversation, with a system prompt."""
        return self.ready is not None and self.ready.has_chat_template

    @property
    def loading_line(self) -> str:
        """What the worker does before it is ready."""
        if not self._phase:
            return f"Loading {self.choice.label}: starting the worker …"
        progress = self._progress
        if progress is None or progress.total <= 0:
            return f"Loading {self.choice.label}: reading the weights …"
        if progress.done >= progress.total:
            return f"Loading {self.choice.label}: first run of the kernels …"
        part = formatting.percent(progress.done / progress.total)
        return f"Loading {self.choice.label}: {part} of {formatting.memory(progress.total)} …"

    def owns(self, handle: JobHandle) -> bool:
        return handle is self._handle

    async def open(self) -> None:
        """Start the worker, unless there is one."""
        if self._handle is not None:
            return
        self.ready, self.problem, self.out_of_memory = None, "", False
        self._phase, self._progress = "", None
        request = opening_request(self.choice)
        self._handle = await self._jobs.start(request, kind="session", title=self.choice.label)

    async def close(self) -> None:
        """End the worker and wait until its memory is back."""
        handle, self._handle = self._handle, None
        self.ready, self.problem = None, ""
        if handle is not None:
            await handle.cancel()

    async def send(self, request: Request) -> None:
        if self._handle is not None:
            await self._handle.send(request)

    def take(self, event: AnyEvent) -> None:
        match event:
            case PhaseStarted():
                self._phase = event.phase
            case Progress():
                self._progress = event
            case SessionReady():
                self.ready = event
                self.weights_bytes = event.weights_bytes or None
            case JobFailed() if not event.run_id:
                self.problem = f"{event.what} {event.next_step}".strip()
                self.out_of_memory = event.exit_code == OUT_OF_MEMORY_EXIT
            case _:
                pass

    def check_end(self) -> None:
        """Notice that the worker is gone; called when its job changed."""
        handle = self._handle
        if handle is None or (handle.active and handle.ended is None):
            return
        self._handle, self.ready = None, None
        if not self.problem and handle.failure is not None:
            self.problem = f"{handle.failure.what} {handle.failure.next_step}".strip()
        if not self.problem:
            self.problem = "The session has ended."
