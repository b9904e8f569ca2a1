"""Describe a model on the hub before any download: config.json and headers over range requests."""

from concurrent.futures import ThreadPoolExecutor

from fqconsole.models.architecture import read_architecture
from fqconsole.models.config import MAX_CONFIG_BYTES, parse_config
from fqconsole.models.describe import build
from fqconsole.models.description import ModelDescription, ModelEntry, TensorInfo
from fqconsole.models.errors import HubError, ModelError
from fqconsole.models.hub_client import SECONDS, check_id, endpoint, hub_sentences, library
from fqconsole.models.safetensors_header import LENGTH_BYTES, header_length, parse_header
from fqconsole.models.weight_files import INDEX, MAX_INDEX_BYTES, choose_files, collect

FIRST_READ = 128 << 10  # most headers are smaller, so most shards need one request
PARALLEL = 8


def describe_hub(model_id: str, revision: str | None = None) -> ModelDescription:
    """The model `model_id` as the hub holds it; nothing is written to disk.

    Raises UsageError for what is no hub id, HubError when the hub can't be asked or says no, ModelError as
    describe_folder does.
    """
    check_id(model_id)
    with hub_sentences(model_id):
        return _describe(model_id, revision)


def _describe(model_id: str, revision: str | None) -> ModelDescription:
    api = library().HfApi(endpoint=endpoint())
    info = api.model_info(model_id, revision=revision, timeout=SECONDS)
    commit = info.sha or revision
    names = {sibling.rfilename for sibling in info.siblings or ()}
    if "config.json" not in names:
        raise ModelError(f"{model_id} has no config.json.", "Pick a model in the transformers layout.")
    repo = _Repo(model_id, commit)
    config = parse_config(repo.read("config.json", MAX_CONFIG_BYTES + 1), f"{model_id}/config.json")
    read_architecture(config)
    index = repo.read(INDEX, MAX_INDEX_BYTES) if INDEX in names else None
    files = choose_files(names, index, model_id)
    with ThreadPoolExecutor(PARALLEL) as pool:
        headers = dict(zip(files, pool.map(repo.header, files), strict=True))
    said = getattr(info.card_data, "license", None)
    return build(
        config,
        collect(files, headers.__getitem__, index, model_id),
        entry=ModelEntry(id=model_id, source="hub", path=None, revision=commit),
        manifest=None,
        license=said if isinstance(said, str) else None,
    )


class _Repo:
    """Parts of files of one revision, through huggingface_hub's own HTTP client and login."""

    def __init__(self, model_id: str, revision: str | None) -> None:
        self.model_id = model_id
        self.revision = revision
        self._headers = library("utils").build_hf_headers()
        self._session = library().get_session()

    def read(self, name: str, most: int) -> bytes:
        """At most `most` bytes of a file."""
        return self._part(name, 0, most)[0]

    def header(self, name: str) -> list[TensorInfo]:
        """The tensors of one shard, from its first bytes and its size."""
        data, size = self._part(name, 0, FIRST_READ)
        end = LENGTH_BYTES + header_length(data[:LENGTH_BYTES], size, name)
        if end > len(data):
            data += self._part(name, len(data), end - len(data))[0]
        if end > len(data):
            raise HubError(f"The hub sent {name} of {self.model_id} cut short.", "Try again.")
        return parse_header(data[LENGTH_BYTES:end], size, name)

    def _part(self, name: str, start: int, count: int) -> tuple[bytes, int]:
        """Up to `count` bytes from `start`, and the file's size. A server that ignores ranges is cut off."""
        url = library().hf_hub_url(self.model_id, name, revision=self.revision, endpoint=endpoint())
        asked = {"range": f"bytes={start}-{start + count - 1}", "accept-encoding": "identity"}
        with self._session.stream(
            "GET", url, headers={**self._headers, **asked}, timeout=SECONDS
        ) as response:
            if response.status_code >= 400:
                response.read()
                library("utils").hf_raise_for_status(response)
            ranged = response.status_code == 206
            skip = 0 if ranged else start
            data = bytearray()
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) >= skip + count:
                    break
            said = response.headers.get("content-range" if ranged else "content-length", "")
        size = said.rsplit("/", 1)[-1]
        if not size.isdigit():
            raise HubError(f"The hub does not say how large {name} of {self.model_id} is.", "Try again.")
        return bytes(data[skip : skip + count]), int(size)
