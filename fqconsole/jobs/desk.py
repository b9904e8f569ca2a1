"""What a task has at hand while it works: where its events go, what was asked of it, and its watch."""

from collections.abc import Callable

from fqconsole.jobs.job_watch import JobWatch
from fqconsole.jobs.messages import Event
from fqconsole.jobs.orders import AnyStart, Orders
from fqconsole.stages import Stages


class Desk:
    """`put` sends an event, `orders` is what the console asks, `watch` speaks for the job's run.

    `stages` know what the time so far went to.
    """

    def __init__(
        self,
        put: Callable[[Event], None],
        orders: Orders,
        request: AnyStart,
        stages: Stages | None = None,
    ) -> None:
        self.put = put
        self.orders = orders
        self.run_id: str = getattr(request, "run_id", "")
        self.stages = stages or Stages()
        self.watch = JobWatch(put, orders, self.run_id)
