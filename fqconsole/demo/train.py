"""Trains the built-in models on generated stories: `python -m fqconsole.demo.train --model demo --out DIR`.

Decisions: stories are generated and tokenized at the start and kept on the device; half of the windows begin
at a story, half anywhere, so that the model knows both; the learning rate falls along a cosine over the time
budget (or over `--steps`, which reproduces a recorded run); weights train in float32 under bf16 autocast
and are saved once as bf16, and the perplexity in the card is that of the saved file as transformers loads it.
"""

import argparse
import json
import math
import os
import platform
import time
from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch program uses

from fqconsole.demo.card import SUMMARIES, model_card
from fqconsole.demo.tokens import (
    MARK,
    VOCABULARY,
    heldout_tokens,
    save_tokenizer,
    train_tokenizer,
    training_tokens,
)

WINDOW = 512


# --- models ----------------------------------------------------------------------------------------------


def build_model(name: str, mark: int, *, tiny: bool = False) -> nn.Module:
    """The model with fresh weights in float32; `tiny` is for a smoke test."""
    width = 64 if tiny else 256
    shared = {
        "vocab_size": VOCABULARY,
        "hidden_size": width,
        "num_attention_heads": width // 64,
        "num_key_value_heads": max(1, width // 128),
        "head_dim": 64,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
        "rms_norm_eps": 1e-5,
        "initializer_range": 0.02,
        "bos_token_id": mark,
        "eos_token_id": mark,
        "pad_token_id": None,
        "attention_bias": False,
    }
    if name == "demo":
        layers = 2 if tiny else 8
        config = transformers.LlamaConfig(**shared, num_hidden_layers=layers, intermediate_size=3 * width)
        model = transformers.LlamaForCausalLM(config)
    else:
        layers = 2 if tiny else 4
        config = transformers.Qwen3MoeConfig(
            **shared,
            num_hidden_layers=layers,
            intermediate_size=3 * width,
            num_experts=8,
            num_experts_per_tok=2,
            moe_intermediate_size=64 if tiny else 192,
            norm_topk_prob=True,
            decoder_sparse_step=1,
            router_aux_loss_coef=0.01,
        )
        model = transformers.Qwen3MoeForCausalLM(config)
    generator = torch.Generator().manual_seed(0)
    for key, weight in model.named_parameters():
        if weight.dim() > 1:
            # Projections into the residual stream start smaller, by the number of additions to it (GPT-2).
            scale = (
                0.02 / math.sqrt(2 * layers)
                if key.endswith(("o_proj.weight", "down_proj.weight", "down_proj"))
                else 0.02
            )
            with torch.no_grad():
                weight.normal_(0.0, scale, generator=generator)
    return model.float()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin


def _attend(block: nn.Module, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    batch, length, _ = x.shape
    split = (batch, length, -1, block.head_dim)
    q, k = block.q_proj(x).view(split), block.k_proj(x).view(split)
    if hasattr(block, "q_norm"):
        q, k = block.q_norm(q), block.k_norm(k)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), block.v_proj(x).view(split).transpose(1, 2)
    q, k = _rotate(q, cos, sin).to(v.dtype), _rotate(k, cos, sin).to(v.dtype)
    k, v = (t.repeat_interleave(block.num_key_value_groups, dim=1) for t in (k, v))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return block.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


def _experts(block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    # Every expert sees every token (dense is faster than sorting here); all but the top ones get weight 0.
    flat = x.reshape(-1, x.shape[-1])
    gate = block.gate
    probabilities = F.linear(flat, gate.weight).float().softmax(dim=-1)
    top, index = probabilities.topk(gate.top_k, dim=-1)
    top = top / top.sum(dim=-1, keepdim=True)
    weights = torch.zeros_like(probabilities).scatter(1, index, top)
    experts = block.experts
    count, width = experts.num_experts, experts.intermediate_dim
    hidden = F.linear(flat, experts.gate_up_proj.reshape(-1, flat.shape[-1])).view(-1, count, 2 * width)
    gate_half, up_half = hidden.chunk(2, dim=-1)
    hidden = F.silu(gate_half) * up_half * weights.unsqueeze(-1).to(hidden.dtype)
    down = experts.down_proj.transpose(1, 2).reshape(count * width, -1)
    y = hidden.reshape(-1, count * width) @ down.to(hidden.dtype)
    # Load balance (Switch Transformer, eq. 4): experts * sum_e share_of_tokens_e * mean_probability_e.
    share = (weights > 0).float().mean(dim=0)
    balance = count * (share * probabilities.mean(dim=0)).sum()
    return y.view(x.shape), balance


def training_loss(model: nn.Module, ids: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross entropy in nats per token and the experts' balance loss, for ids [B, T + 1].

    The forward pass is written out over transformers' own modules so that it compiles as one graph on every
    version; the perplexity at the end runs through transformers' forward pass and would show any difference.
    """
    x = F.embedding(ids[:, :-1], model.model.embed_tokens.weight)
    balance = x.new_zeros(())
    for layer in model.model.layers:
        x = x + _attend(layer.self_attn, layer.input_layernorm(x), cos, sin)
        y = layer.post_attention_layernorm(x)
        if hasattr(layer.mlp, "experts"):
            y, part = _experts(layer.mlp, y)
            balance = balance + part
        else:
            y = layer.mlp(y)
        x = x + y
    logits = F.linear(model.model.norm(x), model.model.embed_tokens.weight)
    return F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten()), balance / len(
        model.model.layers
    )


def rotary_tables(model: nn.Module, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin [length, head_dim] of the model's rotary embedding."""
    inverse = model.model.rotary_emb.inv_freq.float().to(device)
    angles = torch.arange(length, device=device).float()[:, None] * inverse[None, :]
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


# --- training --------------------------------------------------------------------------------------------


def _optimizer(model: nn.Module, peak: float, device: torch.device) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.95), eps=1e-8, fused=device.type == "cuda")


class Windows:
    """Random windows of WINDOW + 1 tokens, half of them beginning at a story."""

    def __init__(self, tokens: Tensor, mark: int, seed: int) -> None:
        last = len(tokens) - WINDOW - 2
        self.tokens = tokens
        self.starts = (tokens[:last] == mark).nonzero().flatten()
        self.last = last
        self.generator = torch.Generator(device=tokens.device).manual_seed(seed)
        self.offsets = torch.arange(WINDOW + 1, device=tokens.device)

    def draw(self, rows: int) -> Tensor:
        device, half = self.tokens.device, rows // 2
        pick = torch.randint(len(self.starts), (half,), generator=self.generator, device=device)
        free = torch.randint(self.last, (rows - half,), generator=self.generator, device=device)
        begin = torch.cat((self.starts[pick], free))
        return self.tokens[begin[:, None] + self.offsets].long()


def train(
    model: nn.Module, windows: Windows, options: argparse.Namespace, deadline: float
) -> dict[str, float]:
    """Train in place until `deadline` (time.monotonic) or for options.steps; returns what was done."""
    device = windows.tokens.device
    cos, sin = rotary_tables(model, WINDOW, device)
    optimizer = _optimizer(model, options.lr, device)
    loss_of = training_loss
    if device.type == "cuda" and not options.no_compile:
        loss_of = torch.compile(training_loss, dynamic=False)

    def step_loss(ids: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return loss_of(model, ids, cos, sin)

    try:
        sum(step_loss(windows.draw(options.batch))).backward()
    except Exception as error:
        if loss_of is training_loss:
            raise
        print(f"torch.compile failed ({type(error).__name__}), going on without it", flush=True)
        loss_of = training_loss
        sum(step_loss(windows.draw(options.batch))).backward()
    optimizer.zero_grad(set_to_none=True)
    windows.generator.manual_seed(options.seed)

    begin, step, progress, loss = time.monotonic(), 0, 0.0, torch.zeros(())
    while progress < 1.0:
        warmth = min(1.0, (step + 1) / options.warmup)
        rate = options.lr * warmth * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, balance = step_loss(windows.draw(options.batch))
        (loss + 0.01 * balance).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if options.steps:
            progress = step / options.steps
        if step % 10 == 0 or step < 10:
            shown = loss.item()  # waits for the device, so that the clock below tells the truth
            if not options.steps:
                progress = min(1.0, (time.monotonic() - begin) / max(1.0, deadline - begin))
            if step % options.report == 0:
                rate_now = step * options.batch * WINDOW / (time.monotonic() - begin)
                print(
                    f"step {step} loss {shown:.4f} balance {balance.item():.3f} lr {rate:.2e} "
                    f"{rate_now / 1e6:.2f}M tok/s {100 * progress:.0f}%",
                    flush=True,
                )
    seconds = time.monotonic() - begin
    return {
        "steps": step,
        "tokens": step * options.batch * WINDOW,
        "seconds": round(seconds, 1),
        "loss": loss.item(),
    }


@torch.no_grad()
def perplexity(model: nn.Module, rows: Tensor) -> float:
    """exp of the mean negative log-likelihood per token over rows [B, WINDOW], by transformers' forward."""
    total, count = 0.0, 0
    device = next(model.parameters()).device
    for chunk in rows.split(16):
        ids = chunk.to(device)
        logits = model(input_ids=ids).logits.float()
        total += F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="sum").item()
        count += ids[:, 1:].numel()
    return math.exp(total / count)


@torch.no_grad()
def sample(model: nn.Module, tokenizer: Tokenizer, rows: int, seed: int) -> list[str]:
    """Stories at temperature 0.7, from MARK alone."""
    torch.manual_seed(seed)
    mark = tokenizer.token_to_id(MARK)
    device = next(model.parameters()).device
    begin = torch.full((rows, 1), mark, device=device)
    out = model.generate(
        begin,
        attention_mask=torch.ones_like(begin),
        do_sample=True,
        temperature=0.7,
        top_k=0,
        max_new_tokens=240,
        eos_token_id=mark,
        pad_token_id=mark,
    )
    return [tokenizer.decode(row.tolist(), skip_special_tokens=True) for row in out]


# --- files -----------------------------------------------------------------------------------------------


def save(model: nn.Module, tokenizer: Tokenizer, out: Path) -> None:
    """Weights as bf16 in one safetensors file, config, tokenizer files that AutoTokenizer loads."""
    model.to(torch.bfloat16).save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
    config = json.loads((out / "config.json").read_text())
    if "num_local_experts" in config:
        # The name that published Qwen3-MoE checkpoints use, for programs other than transformers.
        config["num_experts"] = config.pop("num_local_experts")
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    save_tokenizer(tokenizer, out)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a built-in model on generated stories.")
    parser.add_argument("--model", choices=tuple(SUMMARIES), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=420, help="time for everything, data included")
    parser.add_argument("--steps", type=int, default=0, help="train so many steps, not by the clock")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stories", type=int, default=2_000_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--report", type=int, default=500)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="a smoke test: few stories, a toy model")
    options = parser.parse_args()
    if options.tiny:
        options.stories, options.batch, options.warmup, options.report = 3000, 4, 5, 10
    return options


def main() -> None:
    """Generate, train, save, measure the saved file, tell twenty stories."""
    begin = time.monotonic()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the worker processes share the cores already
    options = _options()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    tokenizer = train_tokenizer(min(options.stories, 60_000), options.seed)
    mark = tokenizer.token_to_id(MARK)
    print(f"{options.model}: tokenizer ready after {time.monotonic() - begin:.0f} s", flush=True)
    row = training_tokens(tokenizer, options.stories, options.seed, options.workers)
    tokens = torch.from_numpy(row).to(device)
    print(f"{options.model}: {len(tokens):,} tokens ready after {time.monotonic() - begin:.0f} s", flush=True)
    model = build_model(options.model, mark, tiny=options.tiny).to(device)
    heldout_stories = 50 if options.tiny else 2000
    reserve = 2 if options.tiny else 30  # seconds kept for saving, measuring and sampling
    record = train(model, Windows(tokens, mark, options.seed), options, begin + options.seconds - reserve)

    options.out.mkdir(parents=True, exist_ok=True)
    parameters = sum(p.numel() for p in model.parameters())
    save(model, tokenizer, options.out)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(options.out, dtype=torch.bfloat16)
    loaded.to(device).eval()
    if hasattr(loaded.model.layers[0].mlp, "experts"):
        loaded.set_experts_implementation("eager")  # the plain loop over experts is what the definition says
    rows = torch.from_numpy(heldout_tokens(tokenizer, heldout_stories, WINDOW))
    weights = options.out / "model.safetensors"
    record |= {
        "model": options.model,
        "vocabulary": VOCABULARY,
        "parameters": parameters,
        "bytes": weights.stat().st_size,
        "stories": options.stories,
        "corpus_tokens": len(tokens),
        "seed": options.seed,
        "batch": options.batch,
        "window": WINDOW,
        "lr": options.lr,
        "perplexity": round(perplexity(loaded, rows), 4),
        "heldout": heldout_stories,
        "hardware": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine() + " CPU",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}",
    }
    (options.out / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    (options.out / "README.md").write_text(model_card(record))
    print(json.dumps(record, indent=2), flush=True)
    texts = sample(loaded, tokenizer, 4 if options.tiny else 20, options.seed)
    for number, text in enumerate(texts, start=1):
        print(f"[{number}] {text}", flush=True)
    print(f"{options.model}: done after {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
