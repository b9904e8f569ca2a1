"""What a shell offers for a half-typed word: models, checkpoints, runs. Quick, and never an error."""

from pathlib import Path

Offers = list[tuple[str, str]]  # word, what it is


def models(incomplete: str) -> Offers:
    """Models that are here: built in, the operator's checkpoints and folders, the hub cache."""
    from fqconsole import paths
    from fqconsole.demo import builtin_models
    from fqconsole.models.hub_cache import PREFIX, cache_folder

    try:
        found = [(model.id, "built in") for model in builtin_models()]
        for folder in (paths.checkpoints_dir(), *paths.model_folders()):
            found += [(name, "checkpoint") for name in _folders(folder)]
        cached = [name for name in _folders(cache_folder()) if name.startswith(PREFIX)]
        found += [(name.removeprefix(PREFIX).replace("--", "/"), "hub cache") for name in cached]
    except Exception:  # noqa: BLE001 - settings that can't be read are told by the command itself
        return []
    return _begun(found, incomplete)


def runs(incomplete: str) -> Offers:
    """The latest runs."""
    return _runs(incomplete)


def checkpoints(incomplete: str) -> Offers:
    """Quantize runs that made one, then models."""
    return _runs(incomplete, "quantize") + models(incomplete)


def _runs(incomplete: str, kind: str | None = None) -> Offers:
    from fqconsole import paths
    from store.recent import recent_run_ids

    try:
        return _begun(recent_run_ids(paths.store_file(), kind=kind), incomplete)
    except Exception:  # noqa: BLE001 - as above
        return []


def _folders(place: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in place.iterdir() if entry.is_dir() and entry.name[0] != ".")
    except OSError:
        return []


def _begun(found: Offers, incomplete: str) -> Offers:
    return [offer for offer in found if offer[0].startswith(incomplete)]
