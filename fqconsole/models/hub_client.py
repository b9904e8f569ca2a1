"""The one door to huggingface_hub: its login, its HTTP client, its failures as sentences; imported when used.

Works with huggingface_hub 1.x (httpx) and 2.x (httpx2), which share these names.
"""

import importlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fqconsole.errors import UsageError
from fqconsole.models.errors import HubError, shown

MODEL_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
SECONDS = 15.0  # to wait for an answer
# What huggingface_hub raises where an answer has not the fields, types or depth that it takes for granted.
_NONSENSE = (
    AssertionError, AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError,
)  # fmt: skip


def library(part: str = "") -> Any:
    """`huggingface_hub`, or a part of it such as "utils"; untyped, as few of its names are exported."""
    return importlib.import_module(f"huggingface_hub.{part}" if part else "huggingface_hub")


def endpoint() -> str | None:
    """The hub's address where the operator names another one (HF_ENDPOINT)."""
    return os.environ.get("HF_ENDPOINT") or None


def check_id(model_id: str) -> None:
    """Raises UsageError for what can't be a hub id."""
    if not MODEL_ID.match(model_id) or ".." in model_id or "--" in model_id:
        raise UsageError(
            f"{shown(model_id)!r} is no hub id.", "Write it as organisation/name, such as Qwen/Qwen3-8B."
        )


@contextmanager
def hub_sentences(model_id: str) -> Iterator[None]:
    """Turns what huggingface_hub and its HTTP client raise into HubError; offline is a normal state."""
    errors = library("errors")
    if library("constants").HF_HUB_OFFLINE:
        raise _offline(model_id)
    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise _offline(model_id) from None
    except errors.GatedRepoError as failure:  # before RepositoryNotFoundError, which it subclasses
        raise HubError(
            f"{model_id} is gated: its owner wants its terms accepted.",
            f"Accept them at https://huggingface.co/{model_id}, then log in with `hf auth login`.",
        ) from failure
    except errors.RepositoryNotFoundError as failure:
        raise HubError(
            f"The hub has no model {model_id}, or it is private.",
            "Check the spelling; for a private model log in with `hf auth login`.",
        ) from failure
    except errors.RevisionNotFoundError as failure:
        raise HubError(f"{model_id} has no such revision.", "Name a branch, a tag or a commit.") from failure
    except errors.HfHubHTTPError as failure:
        status = getattr(getattr(failure, "response", None), "status_code", None)
        step = "Wait a minute and try again" if status == 429 else "Try again later"
        raise HubError(
            f"The hub refused {model_id} (HTTP {status}).", f"{step}, or log in with `hf auth login`."
        ) from failure
    except (errors.LocalEntryNotFoundError, errors.HTTPError, OSError) as failure:
        raise HubError(
            f"The hub can't be reached ({type(failure).__name__}).",
            "Check the network, or pick a model that is on this machine.",
        ) from failure
    except _NONSENSE as failure:
        raise HubError(
            f"The hub's answer about {model_id} can't be read ({type(failure).__name__}).",
            "Try again; if HF_ENDPOINT is set, check that it names a hub.",
        ) from failure


def _offline(model_id: str) -> HubError:
    return HubError(
        f"Offline: {model_id} is not on this machine, and HF_HUB_OFFLINE forbids asking the hub.",
        "Unset HF_HUB_OFFLINE, or pick a model that is on this machine.",
    )
