"""How a checkpoint is served: sizes that divide, kernels, exact words, and reasons to refuse."""

import shutil

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqconsole.errors import UsageError
from fqconsole.models import describe, resolve_model
from fqconsole.serving.advice import advise
from fqconsole.serving.checkpoint import Joined, Servable, read_servable
from fqconsole.serving.commands import Container, Wish, through_container, through_python
from fqconsole.serving.kernels import sglang_kernel, vllm_kernel
from fqconsole.serving.layout import Layout, choose_layout, obstacles
from quantizer.candidate_errors import measure_candidates
from quantizer.engine import quantize
from quantizer.manifest import MANIFEST, manifest_bytes, read_manifest
from quantizer.methods import MODES
from quantizer.planner import Planner
from quantizer.scheme import Scheme

WISH = Wish(context=512)
ALONE = Layout(1, 1, 1, 1, expert_parallel=False)


def words(step):
    return " ".join(step.words)


def test_matrices_that_engines_join_are_one(checkpoint):
    servable = read_servable(checkpoint("demo", 4))
    kinds = {part.name.rpartition(".")[2]: part for part in servable.joined}
    hidden = servable.description.hidden_size
    assert sum(part.matrices for part in servable.joined) == 7 * servable.description.layers
    assert kinds["gate_up"].rows == 2 * servable.description.intermediate_size
    assert (kinds["gate_up"].matrices, kinds["gate_up"].reads_spread) == (2, False)
    spread = [part for part in servable.joined if part.reads_spread]
    assert {part.columns for part in spread} == {hidden, servable.description.intermediate_size}


def test_experts_are_one_stack_by_their_inner_size(checkpoint):
    servable = read_servable(checkpoint("demo-moe", 4))
    (first, *_rest) = [part for part in servable.joined if part.experts]
    about = servable.description
    assert (first.experts, first.rows, first.columns) == (
        about.experts,
        about.expert_intermediate_size,
        about.hidden_size,
    )
    assert first.matrices == 3 * about.experts


def test_one_machine_is_one_command(checkpoint):
    advice = advise(checkpoint("demo", 4), "vllm", 2, 1, WISH)
    assert [step.where for step in advice.steps] == ["here"]
    assert words(advice.steps[0]) == (
        f"vllm serve {advice.folder} --served-model-name demo-int4 --max-model-len 512 "
        "--tensor-parallel-size 2 --host 127.0.0.1 --port 8000"
    )
    assert advice.refusals == ()
    assert advice.layout.used == 2


def test_two_machines_with_and_without_ray(checkpoint):
    plain = advise(checkpoint("demo", 4), "vllm", 2, 2, Wish(512, head="10.0.0.1"))
    head, other = plain.steps
    for step in plain.steps:
        assert "--tensor-parallel-size 2 --pipeline-parallel-size 2" in words(step)
        assert "--nnodes 2 --master-addr 10.0.0.1" in words(step)
    assert words(head).endswith("--node-rank 0")
    assert words(other).endswith("--node-rank 1 --headless")
    joined = advise(checkpoint("demo", 4), "vllm", 2, 2, Wish(512, head="10.0.0.1", ray=True))
    assert [words(step).split()[0] for step in joined.steps] == ["ray", "ray", "vllm"]
    assert "--address 10.0.0.1:6379" in words(joined.steps[1])
    assert words(joined.steps[2]).endswith("--distributed-executor-backend ray")


def test_sglang_has_words_of_its_own(checkpoint):
    advice = advise(checkpoint("demo-moe", 4), "sglang", 2, 2, Wish(512, head="10.0.0.1"))
    assert [step.where for step in advice.steps] == ["head", "node 1"]
    assert "-m sglang.launch_server --model-path" in words(advice.steps[0])
    assert "--dist-init-addr 10.0.0.1:5000 --node-rank 1" in words(advice.steps[1])


def test_experts_are_spread_whole(checkpoint):
    advice = advise(checkpoint("demo-moe", 4), "vllm", 2, 1, WISH)
    assert advice.layout.expert_parallel
    assert "--enable-expert-parallel" in words(advice.steps[0])
    assert "--enable-expert-parallel" not in words(
        advise(checkpoint("demo-moe", 4), "vllm", 1, 1, WISH).steps[0]
    )


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_int3_is_refused_with_the_reason(checkpoint, engine):
    (reason,) = advise(checkpoint("demo", 3), engine, 1, 1, WISH).refusals
    assert "int3" in reason
    assert reason.endswith("quantize with --bits 4")
    assert advise(checkpoint("demo", 4), engine, 1, 1, WISH).refusals == ()


def test_a_packed_head_is_for_vllm_alone(checkpoint):
    headed = checkpoint("demo", 4, head=8)
    assert advise(headed, "vllm", 1, 1, WISH).refusals == ()
    (reason,) = advise(headed, "sglang", 1, 1, WISH).refusals
    assert "quantize without --head" in reason


def test_a_checkpoint_of_granularity_matrix_is_refused_where_its_sets_differ(checkpoint, tmp_path):
    description = checkpoint("demo", 4, granularity="matrix")
    assert advise(description, "vllm", 1, 1, WISH).refusals == ()
    folder = tmp_path / "mixed"
    shutil.copytree(str(description.path), folder)
    manifest = read_manifest(folder)
    mixed = msgspec.structs.replace(manifest, refused_by_engines=("0.qkv has groups of 64 and 32", "1.qkv"))
    (folder / MANIFEST).write_bytes(manifest_bytes(mixed))
    (reason,) = advise(msgspec.structs.replace(description, path=str(folder)), "vllm", 1, 1, WISH).refusals
    assert "--granularity matrix" in reason
    assert "0.qkv has groups of 64 and 32 and 1 more" in reason


def test_experts_of_a_model_that_sees_images_are_refused(checkpoint, tmp_path):
    description = checkpoint("demo-moe", 4)
    folder = tmp_path / "seeing"
    shutil.copytree(str(description.path), folder)
    manifest = read_manifest(folder)
    renamed = tuple(
        msgspec.structs.replace(matrix, name=matrix.name.replace("model.", "model.language_model.", 1))
        for matrix in manifest.plan.matrices
    )
    seeing = msgspec.structs.replace(manifest, plan=msgspec.structs.replace(manifest.plan, matrices=renamed))
    (folder / MANIFEST).write_bytes(manifest_bytes(seeing))
    (reason,) = advise(msgspec.structs.replace(description, path=str(folder)), "vllm", 1, 1, WISH).refusals
    assert "pattern" in reason


def test_a_16_bit_model_has_a_command_and_no_kernels(checkpoint):
    from fqconsole.models import describe, resolve_model

    advice = advise(describe(resolve_model("demo")), "vllm", 1, 1, WISH)
    assert advice.kernels == ()
    assert advice.refusals == ()


def test_a_checkpoint_of_others_and_a_context_that_is_too_long_are_refused(checkpoint, tmp_path):
    description = checkpoint("demo", 4)
    with pytest.raises(UsageError, match="not quantized by fqconsole"):
        advise(msgspec.structs.replace(description, path=str(tmp_path)), "vllm", 1, 1, WISH)
    with pytest.raises(UsageError, match="reads at most"):
        advise(description, "vllm", 1, 1, Wish(context=10**6))


def servable_of(description, *parts):
    return Servable("m", "/m", description, parts)


@given(
    gpus=st.sampled_from([1, 2, 3, 4, 6, 8]),
    heads=st.sampled_from([4, 6, 8, 32, 40]),
    columns=st.sampled_from([256, 384, 1408, 14336]),
    group=st.sampled_from([None, 32, 128]),
)
def test_the_layout_is_the_most_gpus_a_layer_that_divide_everything(gpus, heads, columns, group):
    description = DEMO(heads)
    down = Joined("0.down_proj", 512, columns, Scheme(4, group), 1, reads_spread=True)
    model = servable_of(description, down)
    layout = choose_layout(model, gpus, 1)
    assert layout.tensor * layout.pipeline == gpus
    assert obstacles(model, layout.tensor) == []
    larger = [n for n in range(layout.tensor + 1, gpus + 1) if gpus % n == 0]
    for tensor in larger:
        whole = columns % tensor == 0 and (group is None or columns // tensor % group == 0)
        assert heads % tensor or not whole


def DEMO(heads):  # noqa: N802 - a description with other heads
    from fqconsole.models import describe, resolve_model

    found = describe(resolve_model("demo"))
    attention = tuple(msgspec.structs.replace(layer, kv_heads=heads) for layer in found.attention)
    return msgspec.structs.replace(found, heads=heads, attention=attention, layers=16)


def test_heads_that_do_not_divide_are_told(checkpoint):
    advice = advise(DEMO(6), "vllm", 4, 1, WISH)
    assert (advice.layout.tensor, advice.layout.pipeline) == (2, 2)
    assert any("6 heads" in note for note in advice.notes)
    with pytest.raises(UsageError, match="too few"):
        advise(msgspec.structs.replace(DEMO(5), layers=3), "vllm", 4, 1, WISH)


@pytest.mark.parametrize(
    ("bits", "group", "capability", "kernel"),
    [
        (4, 128, 90, "Machete"), (4, 128, 80, "Marlin"), (8, None, 90, "Machete"), (4, 32, 90, "Humming"),
        (4, 16, 89, "Humming"), (4, 256, 80, "Triton"), (8, 256, 80, "Humming"), (3, 64, 90, "Humming"),
    ],
)  # fmt: skip
def test_the_kernel_by_scheme_and_generation(bits, group, capability, kernel):
    part = Joined("q", 256, 512, Scheme(bits, group), 1)
    assert vllm_kernel(part, ALONE, capability) == kernel


def test_channel_wise_experts_ask_for_the_one_kernel_that_takes_them(checkpoint):
    advice = advise(checkpoint("demo-moe", 8), "vllm", 1, 1, WISH)
    assert "--moe-backend marlin" in words(advice.steps[0])
    experts = [use for use in advice.kernels if use.experts]
    assert {kernel for use in experts for kernel in use.kernels.values()} == {"Marlin"}


def test_groups_that_leave_the_fast_kernels_are_told(checkpoint):
    advice = advise(checkpoint("demo", 4, granularity="fixed", group_size=16), "vllm", 1, 1, WISH)
    assert any("leave the fast kernels" in note for note in advice.notes)
    assert any("no kernel" in reason for reason in advise(
        checkpoint("demo", 4, granularity="fixed", group_size=16), "sglang", 1, 1, WISH
    ).refusals)  # fmt: skip
    assert sglang_kernel(Joined("q", 256, 512, Scheme(4, 64), 1), ALONE, 80) == "Marlin"


def test_the_engine_of_a_named_interpreter_or_image(checkpoint):
    advice = advise(checkpoint("demo", 4), "vllm", 1, 1, WISH)
    (step,) = advice.steps
    assert through_python(step, "/v/bin/python")[:4] == (
        "/v/bin/python",
        "-m",
        "vllm.entrypoints.cli.main",
        "serve",
    )
    container = Container("vllm/vllm-openai", "docker", "fq-1")
    run = through_container(step, container, WISH, advice.folder)
    assert run[:6] == ("docker", "run", "--rm", "--init", "--name", "fq-1")
    assert "127.0.0.1:8000:8000" in run
    assert run[run.index("--host") + 1] != "127.0.0.1"  # the container's own loopback, which nobody reaches
    assert container.removal == ("docker", "rm", "--force", "fq-1")
    python = advise(checkpoint("demo", 4), "sglang", 1, 1, WISH).steps[0]
    assert through_python(python, "/v/bin/python")[:3] == ("/v/bin/python", "-m", "sglang.launch_server")


def test_experts_whose_layers_differ_are_served(tmp_path):
    source = describe(resolve_model("demo-moe"))
    measured = measure_candidates(source, methods=MODES["fast"], device="cpu")
    planner = Planner(source, measured, experts="layer")
    schemes = {
        matrix.name: Scheme(8 if matrix.layer == 0 else 4, 64) if len(matrix.shape) == 3 else Scheme(8, None)
        for matrix in planner.draft.matrices
    }
    quantize(source, planner.with_schemes(schemes, "test"), tmp_path / "mixed", device="cpu")
    found = describe(resolve_model(str(tmp_path / "mixed")))
    servable = read_servable(found)
    assert servable.reasons == ()
    assert {part.scheme.bits for part in servable.joined if part.experts} == {4, 8}
    for engine in ("vllm", "sglang"):
        advice = advise(found, engine, 1, 1, WISH)
        assert advice.refusals == ()
        assert {use.scheme.bits for use in advice.kernels if use.experts} == {4, 8}
