"""One example of every message: what the golden files hold."""

from fqconsole.fit.probe import Probe
from fqconsole.generation.options import Sampling
from fqconsole.jobs import messages as m
from fqconsole.models.bare_config import ClassShapes
from fqconsole.models.description import TensorInfo
from quantizer.plan import KeptTensor, MatrixPlan, Plan
from quantizer.scheme import Scheme
from quantizer.verdict import Fault, Verification

T = 1763827200.25

PLAN = Plan(
    model="demo",
    revision=None,
    bits=4,
    granularity="adaptive",
    group_size=64,
    threshold=0.7,
    scale_dtype="bfloat16",
    matrices=(
        MatrixPlan(
            name="model.layers.0.self_attn.q_proj",
            tensors=("model.layers.0.self_attn.q_proj.weight",),
            shape=(256, 256),
            layer=0,
            kind="q_proj",
            fused_set="0.qkv",
            scheme=Scheme(bits=4, group_size=32),
            statistic={"64": 0.5},
            reason="range halves with groups of 32: 64 → 32",
        ),
    ),
    kept=(KeptTensor(name="model.embed_tokens.weight", shape=(1024, 256), bytes=524288, reason="embedding"),),
)

REQUESTS = (
    m.StartQuantize(
        run_id="r0042",
        model_id="demo",
        model_path="/models/demo",
        out="/checkpoints/demo-int4",
        bits=4,
        group_size=None,
        granularity="fixed",
        device="cuda:0",
    ),
    m.StartEvaluate(
        run_id="r0043", checkpoint_path="/checkpoints/demo-int4", reference_path="/models/demo", window=256
    ),
    m.StartVerify(checkpoint_path="/checkpoints/demo-int4", every=True),
    m.StartDescribe(config={"model_type": "llama", "hidden_size": 64}),
    m.StartProbe(device="cuda:0"),
    m.StartDownload(run_id="r0044", model_id="Qwen/Qwen3-8B", revision="9c925d6"),
    m.StartSession(model_path="/checkpoints/demo-int4", context=512),
    m.Send(
        run_id="r0045",
        sampling=Sampling(temperature=0.7, seed=7, stop=("\n\n",)),
        messages=(("system", "Be brief."), ("user", "Why is the sky blue? 千问 🙂")),
    ),
    m.Stop(),
    m.Pause(),
    m.Resume(),
    m.Cancel(),
)

EVENTS = (
    m.WorkerStarted(
        t=T,
        pid=4711,
        protocol=1,
        versions={"python": "3.11.7", "torch": "2.13.0"},
        device="cuda:0",
        device_name="NVIDIA H200",
        run_id="r0042",
    ),
    m.PhaseStarted(t=T, phase="quantize", total=13640192.0, unit="B"),
    m.Progress(
        t=T,
        phase="quantize",
        done=6820096.0,
        total=13640192.0,
        rate=1e9,
        eta_seconds=0.5,
        host_bytes=2**30,
        device_bytes=2**20,
        note="model.layers.3",
    ),
    m.PlanReady(t=T, run_id="r0042", plan=PLAN, predicted_bytes=36864, bits_per_weight=4.5),
    m.MatrixDone(
        t=T,
        run_id="r0042",
        index=0,
        count=1,
        name="model.layers.0.self_attn.q_proj",
        layer=0,
        kind="q_proj",
        shape=(256, 256),
        bits=4,
        group_size=32,
        statistic={"64": 0.5},
        relative_error=0.0921,
        bytes=36864,
        seconds=0.21,
        reason="range halves with groups of 32: 64 → 32",
    ),
    m.CheckpointWritten(
        t=T,
        run_id="r0042",
        checkpoint="/checkpoints/demo-int4",
        bytes=4400512,
        source_bytes=13640192,
        bits_per_weight=4.5,
        model_bits_per_weight=5.16,
        seconds=0.5,
    ),
    m.SessionReady(
        t=T,
        model_path="/checkpoints/demo-int4",
        precision="int4",
        device="cuda:0",
        context=512,
        has_chat_template=False,
        load_seconds=1.5,
        weights_bytes=4400512,
        path="triton",
        pid=4711,
    ),
    m.GenerationStarted(t=T, run_id="r0045", prompt_tokens=12, rendered="<s>Why is …", seed=7, pid=4711),
    m.TokensGenerated(t=T, run_id="r0045", text=" Because 千", count=2, tok_s=148.0),
    m.GenerationDone(
        t=T,
        run_id="r0045",
        text=" Because 千",
        token_ids=(5, 9),
        prompt_tokens=12,
        ttft_ms=38.0,
        prefill_tok_s=4120.0,
        decode_tok_s=None,
        peak_bytes=2**30,
        stop_reason="stop_string",
    ),
    m.MemoryMeasured(t=T, run_id="r0045", gpu=0, term="total", bytes=2**30),
    m.VerificationDone(
        t=T,
        verification=Verification(
            checkpoint="/checkpoints/demo-int4",
            sound=False,
            files=1,
            bytes=4400512,
            matrices=42,
            remade=("model.layers.0.self_attn.q_proj",),
            source="unchanged",
            source_path="/models/demo",
            faults=(Fault("differs", "model.layers.0.self_attn.q_proj", "is not what its source gives"),),
            seconds=0.5,
        ),
    ),
    m.EvaluationDone(
        t=T,
        run_id="r0043",
        perplexity=9.81,
        reference_perplexity=9.72,
        kl_divergence=0.012,
        top1_agreement=0.964,
        tokens=4096,
        seconds=3.5,
    ),
    m.ConfigDescribed(
        t=T,
        shapes=ClassShapes(
            config={"model_type": "llama", "hidden_size": 64},
            tensors=(TensorInfo("model.norm.weight", "BF16", (64,), "", 0, 128),),
        ),
    ),
    m.ProbeDone(
        t=T,
        probe=Probe(
            device="H200",
            driver="570.86",
            torch="2.13.0",
            triton="3.7.1",
            t=T,
            process_bytes=1 << 30,
            context_bytes=512 << 20,
            kernels_bytes=64 << 20,
            workspace_bytes=32 << 20,
            rounding=0.03,
            bandwidth=4_300_000_000_000,
            seconds=9.5,
        ),
    ),
    m.DownloadDone(t=T, run_id="r0044", path="/hf/snapshots/9c925d6", bytes=16381470720),
    m.Paused(t=T),
    m.Resumed(t=T),
    m.LogLine(t=T, level="warning", text="q_proj: no group divides K"),
    m.JobDone(t=T, run_id="r0042", status="cancelled"),
    m.JobFailed(
        t=T,
        run_id="r0042",
        code="out_of_memory",
        what="GPU 0 ran out of memory: 2.00 GiB more was asked for, 0.50 GiB of 79.60 GiB is free.",
        next_step="Use fewer bits.",
        exit_code=4,
        details="Traceback (most recent call last): …",
    ),
)
