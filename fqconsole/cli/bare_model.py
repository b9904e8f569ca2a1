"""A model that is nowhere on this machine, described from a config.json by a worker, and cached."""

from pathlib import Path
from typing import TYPE_CHECKING

from fqconsole.cli.output import Output
from fqconsole.errors import OperatorError

if TYPE_CHECKING:
    from fqconsole.models.description import ModelDescription


def described_config(path: Path, output: Output) -> "ModelDescription":
    """The model of the config at `path`. Raises ModelError naming the field that is wrong."""
    from fqconsole.cli.job_driver import JobDriver
    from fqconsole.cli.run_store import open_store
    from fqconsole.jobs.messages import AnyEvent, ConfigDescribed, StartDescribe
    from fqconsole.models.bare_config import cached_shapes, describe_bare, keep_shapes, read_bare

    config = read_bare(path)
    shapes = cached_shapes(config)
    if shapes is None:
        found: list[ConfigDescribed] = []

        def watch(event: AnyEvent) -> None:
            if isinstance(event, ConfigDescribed):
                found.append(event)

        with open_store() as store:
            JobDriver(store, output).run(StartDescribe(config=dict(config.outer)), "", watch)
        if not found:
            raise OperatorError("The description ended without a result.", "Try again.")
        shapes = found[0].shapes
        keep_shapes(config, shapes)
    return describe_bare(config, shapes)
