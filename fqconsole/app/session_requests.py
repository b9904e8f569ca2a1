"""What the Session screen asks for: the run of one answer with the memory it was promised."""

from collections.abc import Callable
from typing import Any

from fqconsole.app import fit_view
from fqconsole.app.answer import Answer
from fqconsole.app.workspace import SessionChoice, Workspace
from fqconsole.jobs.messages import Send


def generate_request(
    begin: Any, choice: SessionChoice, answer: Answer, *, template: bool, predicted: dict[str, Any]
) -> Callable[[Any], Send]:
    """A function of the store that makes run and request, with the chat template where there is one."""
    said = {"messages": answer.messages} if template else {"prompt": answer.prompt}

    def make(store: Any) -> Send:
        request: Send = begin.begin_generate(
            store,
            model_path=choice.path,
            sampling=answer.sampling,
            context=choice.context,
            model_id=choice.model_id,
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
    option = fit_view.chosen(preview, choice.bits, 1)
    return {
        "predicted": {"weights": option.weights_bytes, "total": option.total_bytes_per_gpu},
        "predicted_gpu": 0 if preview.capacity.kind == "gpu" else None,
    }
