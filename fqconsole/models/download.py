"""Fetch a hub model into the standard hub cache: weights, config, tokenizer; nothing that runs code."""

import contextlib
import importlib
import io
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fqconsole.errors import OperatorError
from fqconsole.models.errors import HubError, ModelError
from fqconsole.models.hub_cache import cache_folder
from fqconsole.models.hub_client import SECONDS, check_id, endpoint, hub_sentences, library
from fqconsole.models.weight_files import INDEX, choose_files, no_weights

# What a model needs here. Pickles and code are never fetched.
ALLOWED = (
    "*.safetensors", INDEX, "config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "*.model", "*.tiktoken", "chat_template*",
    "preprocessor_config.json", "processor_config.json", "fqconsole_manifest.json", "LICENSE*", "README.md",
)  # fmt: skip
IGNORED = ("*/*",)  # other formats live in subfolders (original/, onnx/, gguf/)
POLL_SECONDS = 0.1


class DownloadCancelled(OperatorError):  # noqa: N818 - a decision, not an error
    """The operator ended the download; what is there stays and is used by the next one."""

    code = "cancelled"


def download(
    model_id: str,
    revision: str | None,
    on_progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> Path:
    """The snapshot folder, complete. Goes on where an earlier download of the same revision stopped.

    `on_progress(done, total)` is called in bytes, from the calling thread, about ten times a second.
    Raises DownloadCancelled soon after `cancelled()` turns true, UsageError for what is no hub id, HubError,
    and ModelError where the model has no safetensors.
    """
    check_id(model_id)
    with hub_sentences(model_id):
        drop_abandoned(model_id)
        commit, wanted = _wanted_files(model_id, revision)
        total = sum(wanted.values())
        _refuse_full_disk(total)
        transfer = _Transfer(model_id, commit)
        transfer.start()
        while transfer.is_alive():
            if cancelled():
                transfer.stop()
                raise DownloadCancelled(
                    f"The download of {model_id} was cancelled.", "Start it again to go on."
                )
            on_progress(min(transfer.done, total), total)
            transfer.join(POLL_SECONDS)
        if transfer.failure is not None:
            raise transfer.failure
    if transfer.folder is None:
        raise HubError(f"The download of {model_id} gave no folder.", "Start it again.")
    on_progress(total, total)
    return transfer.folder


def _wanted_files(model_id: str, revision: str | None) -> tuple[str, dict[str, int]]:
    """The commit, and name → bytes of every file to fetch. Raises ModelError where none of them is usable."""
    api = library().HfApi(endpoint=endpoint())
    info = api.model_info(model_id, revision=revision, files_metadata=True, timeout=SECONDS)
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
    chosen = library("utils").filter_repo_objects(
        list(sizes), allow_patterns=list(ALLOWED), ignore_patterns=list(IGNORED)
    )
    wanted = {name: sizes[name] for name in chosen}
    if not any(name.endswith(".safetensors") for name in wanted):
        raise ModelError(*no_weights(sizes, model_id))
    if INDEX not in wanted:  # with an index, its shards are checked when the model is described
        choose_files(wanted, None, model_id)
    return info.sha or revision or "main", wanted


def drop_abandoned(model_id: str) -> None:
    """Delete the pieces of files that killed downloads of the model left: the hub's library never uses them
    again. What another program is fetching stays, for that one holds the lock of its file.
    """
    cache = cache_folder()
    folder = cache / library("file_download").repo_folder_name(repo_id=model_id, repo_type="model")
    for piece in (folder / "blobs").glob("*.incomplete"):
        lock = cache / ".locks" / folder.name / f"{piece.name.partition('.')[0]}.lock"
        with contextlib.suppress(OSError):  # a lock that is held is a TimeoutError, which is an OSError
            lock.parent.mkdir(parents=True, exist_ok=True)
            with library("utils").WeakFileLock(lock, timeout=0.1):
                piece.unlink(missing_ok=True)


def _refuse_full_disk(total: int) -> None:
    place = cache_folder()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if total > free:
        raise OperatorError(
            f"{place} has {free / 2**30:.1f} GiB free and the model takes {total / 2**30:.1f} GiB.",
            "Free some space, or name another place with HF_HUB_CACHE.",
        )


class _Transfer(threading.Thread):
    """snapshot_download in a thread, so that a stalled connection does not hold up a cancel."""

    def __init__(self, model_id: str, commit: str) -> None:
        super().__init__(name=f"download {model_id}", daemon=True)
        self.model_id = model_id
        self.commit = commit
        self.folder: Path | None = None
        self.failure: Exception | None = None
        self._stopped = threading.Event()
        self._bars: list[Any] = []

    @property
    def done(self) -> int:
        """Bytes so far. Several bars count the same bytes (received, written): the furthest one counts."""
        return max((int(bar.n or 0) for bar in self._bars), default=0)

    def stop(self) -> None:
        """Ends at the next chunk."""
        self._stopped.set()

    def run(self) -> None:
        """Leaves the folder or the failure for the calling thread, never a traceback."""
        try:
            folder = library().snapshot_download(
                self.model_id,
                revision=self.commit,
                cache_dir=cache_folder(),
                allow_patterns=list(ALLOWED),
                ignore_patterns=list(IGNORED),
                tqdm_class=_counting_bar(self._bars, self._stopped),
                endpoint=endpoint(),
            )
            self.folder = Path(folder)
        except Exception as failure:  # noqa: BLE001 - handed to the calling thread
            self.failure = failure


def _counting_bar(bars: list[Any], stopped: threading.Event) -> type:
    """A progress bar class that counts into `bars`, prints nothing, and ends the transfer once stopped."""
    base: Any = importlib.import_module("tqdm").tqdm

    class Bar(base):  # type: ignore[misc]
        """Bytes bars are kept in `bars`; the bar that counts files is not."""

        def __init__(self, *args: Any, **keywords: Any) -> None:
            keywords.pop("name", None)
            super().__init__(*args, **{**keywords, "file": io.StringIO(), "disable": False})
            if self.unit == "B":
                bars.append(self)

        def display(self, *args: Any, **keywords: Any) -> None:
            """Nothing is drawn."""
            del args, keywords

        def update(self, n: float | None = 1) -> None:
            """Counts; raises once the operator has cancelled."""
            if stopped.is_set():
                raise DownloadCancelled("The download was cancelled.")
            super().update(n)

    Bar.set_lock(threading.RLock())  # tqdm's own lock would start a multiprocessing resource tracker
    return Bar
