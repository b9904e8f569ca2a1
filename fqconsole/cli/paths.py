"""`fqconsole paths`: where the files lie."""

from fqconsole.cli.options import Json
from fqconsole.cli.output import Output


def paths(json: Json = False) -> None:
    """Print where fqconsole keeps its files. FQCONSOLE_HOME moves them all."""
    from fqconsole import paths as places
    from fqconsole.cli.table import table
    from fqconsole.models.hub_cache import cache_folder

    output = Output(json=json)
    found = {
        "config": places.config_file(),
        "runs": places.store_file(),
        "checkpoints": places.checkpoints_dir(),
        "log": places.log_dir(),
        "cache": places.cache_dir(),
        "hub_cache": cache_folder(),
    }
    if json:
        output.result({name: str(place) for name, place in found.items()})
        return
    meanings = {
        "config": "settings",
        "runs": "every run, one SQLite file",
        "checkpoints": "quantized models, when no --out is given",
        "log": "logs of the console and of each worker",
        "cache": "what can be made again",
        "hub_cache": "Hugging Face models, shared with other programs",
    }
    output.line(
        table(["place", "path", "holds"], [[name, str(found[name]), meanings[name]] for name in found])
    )
