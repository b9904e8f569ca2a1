"""A session that answers with the prompt's own words; "fail", "late" and "die" go wrong, "endless" goes on.

A model whose path ends in "chat" has a chat template and answers the last message.
"""

import os
import signal
import time

import msgspec

from fqconsole.jobs.failures import failure_of
from fqconsole.jobs.messages import (
    GenerationDone,
    GenerationStarted,
    JobDone,
    MemoryMeasured,
    SessionReady,
    TokensGenerated,
)

smallest_change = "Use a shorter context."


def run(request, desk):
    """Answer until there is nothing more to answer; an endless prompt goes on until it is stopped."""
    desk.put(
        SessionReady(
            t=time.time(),
            model_path=request.model_path,
            precision="int4",
            device="cpu",
            context=512,
            has_chat_template=request.model_path.endswith("chat"),
            load_seconds=0.5,
            weights_bytes=1000,
            path="stand-in",
            pid=os.getpid(),
        )
    )
    while (item := desk.orders.next_send()) is not None:
        number, send = item
        if send.messages is not None:
            send = msgspec.structs.replace(send, prompt=send.messages[-1][1])
        if send.prompt == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if send.prompt == "late":
            desk.put(
                GenerationStarted(t=time.time(), run_id=send.run_id, prompt_tokens=1, rendered="", seed=7)
            )
        if send.prompt in ("fail", "late"):
            desk.put(failure_of(MemoryError(), send.run_id, smallest_change))
            continue
        answer(send, desk, number)
    for send in desk.orders.waiting_sends():
        desk.put(JobDone(t=time.time(), run_id=send.run_id, status="cancelled"))


def answer(send, desk, number):
    """Each word of the prompt in capitals; "endless" repeats until stopped."""
    words = send.prompt.split()
    desk.put(
        GenerationStarted(
            t=time.time(),
            run_id=send.run_id,
            prompt_tokens=len(words),
            rendered=send.prompt,
            seed=7,
            pid=os.getpid(),
        )
    )
    said = []
    stopped = False
    while not stopped:
        for word in words:
            said.append(word.upper())
            desk.put(
                TokensGenerated(
                    t=time.time(), run_id=send.run_id, text=word.upper(), count=len(said), tok_s=100.0
                )
            )
        stopped = send.prompt != "endless" or desk.orders.stop_asked(number)
        time.sleep(0.001)
    desk.put(
        GenerationDone(
            t=time.time(),
            run_id=send.run_id,
            text=" ".join(said),
            token_ids=tuple(range(len(said))),
            prompt_tokens=len(words),
            ttft_ms=12.5,
            prefill_tok_s=1000.0,
            decode_tok_s=100.0,
            peak_bytes=5000,
            stop_reason="stopped" if send.prompt == "endless" else "end",
        )
    )
    desk.put(MemoryMeasured(t=time.time(), run_id=send.run_id, gpu=None, term="total", bytes=5000))
    status = "cancelled" if desk.orders.cancelled else "done"
    desk.put(JobDone(t=time.time(), run_id=send.run_id, status=status))
