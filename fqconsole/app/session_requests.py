"""What the Session screen asks for: the run of one answer with the memory it was promised."""

from collections.abc import Callable
from typing import Any

from fqconsole.app import fit_view
from fqconsole.app.answer import Answer
from fqconsole.app.workspace import SessionChoice, Workspace
from fqconsole.endpoints.address import is_address, parse_address
from fqconsole.jobs.messages import Request, Send, StartEndpoint, StartSession


def opening_request(choice: SessionChoice) -> Request:
    """What starts the worker that answers for this choice: the one place that knows how it is reached."""
    if is_address(choice.path):
        address = parse_address(choice.path)
        return StartEndpoint(url=address.url, model=address.model)
    return StartSession(
        model_path=choice.path, context=choice.context, kv_bits=choice.kv_bits, gpus=choice.gpus or 1
    )


def generate_request(
    begin: Any,
    choice: SessionChoice,
    answer: Answer,
    *,
    template: bool,
    predicted: dict[str, Any],
    preset: str = "",
    shown_as: str = "",
) -> Callable[[Any], Send]:
    """A function of the store that makes run and request, with the chat template where there is one.

    `preset` names the way of sampling, `shown_as` is X or Y in a blind comparison: kept with the run.
    """
    said = {"messages": answer.messages} if template else {"prompt": answer.prompt}

    def make(store: Any) -> Send:
        request: Send = begin.begin_generate(
            store,
            model_path=choice.path,
            sampling=answer.sampling,
            context=choice.context,
            model_id=choice.model_id,
            preset=preset or None,
            shown_as=shown_as or None,
            **said,
            **predicted,
        )
        return request

    return make


def predicted_memory(workspace: Workspace, choice: SessionChoice) -> dict[str, Any]:
    """What the preview on the Fit screen promised for this model, so that a run can be held to it."""
    preview, about = workspace.preview, workspace.description
    if preview is None or about is None or about.id != choice.model_id or workspace.choice.gpu_name:
        return {}
    if choice.bits not in fit_view.precisions(preview):
        return {}
    option = fit_view.chosen(preview, choice.bits, choice.gpus or 1)
    return {
        "predicted": {"weights": option.weights_bytes, "total": option.total_bytes_per_gpu},
        "predicted_gpu": 0 if preview.capacity.kind == "gpu" else None,
    }
