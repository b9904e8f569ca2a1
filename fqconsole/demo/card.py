"""The model card that lies beside the weights, filled from the record of the training run."""

from typing import Any

SUMMARIES = {
    "demo": "a small dense language model (Llama architecture, grouped-query attention)",
    "demo-moe": "a small mixture of experts (Qwen3-MoE architecture, 8 experts, 2 active)",
}

CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# {name}

{summary},
trained from random weights on stories that `fqconsole/demo/corpus.py` makes up. No outside text, no outside
weights. It is fqconsole's built-in model for trying things out: it tells short stories and nothing else.

| | |
|---|---|
| parameters | {parameters:,} ({bytes:,} bytes in bf16) |
| tokenizer | byte-level BPE, {vocabulary} entries, trained on the same stories |
| context | 1024 positions, trained on {window} |
| training | {stories:,} stories, {corpus_tokens:,} tokens; {steps:,} steps of {batch} × {window} tokens = {tokens:,} tokens |
| optimizer | AdamW, peak learning rate {lr}, weight decay 0.1, cosine, bf16 autocast |
| seed | {seed} |
| held-out perplexity | {perplexity:.4f} per token on {heldout:,} stories with seeds that are never trained on |
| hardware | {hardware}, {seconds:.0f} s of training |
| versions | {versions} |
| licence | Apache-2.0 |

To make it again (same stories, tokenizer and schedule; the last bits depend on the hardware):

    python -m fqconsole.demo.train --model {name} --out DIR --seed {seed} --steps {steps}
"""  # noqa: E501


def model_card(record: dict[str, Any]) -> str:
    """The card of one training run; `record` is what training.json holds."""
    name = record["model"]
    summary = SUMMARIES[name]
    return CARD.format(**record, name=name, summary=summary[0].upper() + summary[1:])
