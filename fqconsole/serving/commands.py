"""The command lines of vLLM and SGLang, word by word."""

from dataclasses import dataclass

from fqconsole.serving.checkpoint import Servable
from fqconsole.serving.layout import Layout

HEAD = "HEAD"  # stands for the first machine's address where that is not known
RAY_PORT = 6379
SGLANG_PORT = 5000


@dataclass(frozen=True)
class Step:
    """`where`: "here", "head", "node 1", …"""

    where: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Wish:
    """What the operator wants of a server."""

    context: int
    host: str = "127.0.0.1"
    port: int = 8000
    head: str = HEAD
    ray: bool = False


def vllm_steps(model: Servable, layout: Layout, wish: Wish) -> tuple[Step, ...]:
    """One machine; several with vLLM's own start of them; or several through Ray."""
    serve = ("vllm", "serve", *vllm_words(model, layout, wish))
    if layout.nodes == 1:
        return (Step("here", serve),)
    if wish.ray:
        return (
            Step("head", ("ray", "start", "--head", "--port", str(RAY_PORT))),
            *(
                Step(f"node {node}", ("ray", "start", "--address", f"{wish.head}:{RAY_PORT}"))
                for node in range(1, layout.nodes)
            ),
            Step("head", (*serve, "--distributed-executor-backend", "ray")),
        )
    together = ("--nnodes", str(layout.nodes), "--master-addr", wish.head)
    return tuple(
        Step(
            "head" if node == 0 else f"node {node}",
            (*serve, *together, "--node-rank", str(node), *(("--headless",) if node else ())),
        )
        for node in range(layout.nodes)
    )


def vllm_words(model: Servable, layout: Layout, wish: Wish) -> tuple[str, ...]:
    """What follows `vllm serve`."""
    words = [model.folder, "--served-model-name", model.name, "--max-model-len", str(wish.context)]
    words += ["--tensor-parallel-size", str(layout.tensor)]
    if layout.pipeline > 1:
        words += ["--pipeline-parallel-size", str(layout.pipeline)]
    if layout.expert_parallel:
        words.append("--enable-expert-parallel")
    if any(part.experts and part.scheme.group_size is None for part in model.joined):
        # Left to itself vLLM 0.33.0 takes Humming on Hopper, and then asserts that experts have groups.
        words += ["--moe-backend", "marlin"]
    return (*words, "--host", wish.host, "--port", str(wish.port))


def sglang_steps(model: Servable, layout: Layout, wish: Wish) -> tuple[Step, ...]:
    """One machine, or the same command on each with its rank."""
    words = ["python", "-m", "sglang.launch_server", "--model-path", model.folder]
    words += ["--served-model-name", model.name, "--context-length", str(wish.context)]
    words += ["--tp-size", str(layout.tensor)]
    if layout.pipeline > 1:
        words += ["--pp-size", str(layout.pipeline)]
    if layout.expert_parallel:
        words += ["--ep-size", str(layout.tensor)]
    words += ["--host", wish.host, "--port", str(wish.port)]
    if layout.nodes == 1:
        return (Step("here", tuple(words)),)
    together = ["--nnodes", str(layout.nodes), "--dist-init-addr", f"{wish.head}:{SGLANG_PORT}"]
    return tuple(
        Step("head" if node == 0 else f"node {node}", (*words, *together, "--node-rank", str(node)))
        for node in range(layout.nodes)
    )


def through_python(step: Step, python: str) -> tuple[str, ...]:
    """The same with a named interpreter instead of what the PATH finds."""
    if step.words[0] == "python":
        return (python, *step.words[1:])
    return (python, "-m", "vllm.entrypoints.cli.main", *step.words[1:])


@dataclass(frozen=True)
class Container:
    """An image and the program that runs it (docker, podman) under a name of its own."""

    image: str
    runtime: str
    name: str

    @property
    def removal(self) -> tuple[str, ...]:
        """Ends it, whatever it does."""
        return (self.runtime, "rm", "--force", self.name)


def through_container(step: Step, container: Container, wish: Wish, folder: str) -> tuple[str, ...]:
    """The same in a container: the checkpoint read-only, the port on loopback, the token by its name."""
    inside = [word if word != wish.host else "0.0.0.0" for word in step.words]  # noqa: S104 - in the container
    gpus = ("--device", "nvidia.com/gpu=all") if container.runtime == "podman" else ("--gpus", "all")
    return (
        container.runtime, "run", "--rm", "--init", "--name", container.name, *gpus, "--ipc=host",
        "--publish", f"{wish.host}:{wish.port}:{wish.port}", "--volume", f"{folder}:{folder}:ro",
        "--env", "VLLM_API_KEY", "--entrypoint", inside[0], container.image, *inside[1:],
    )  # fmt: skip
