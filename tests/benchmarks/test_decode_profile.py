"""How time that kernels share is dealt out."""

from benchmarks.decode_profile import (
    IDLE,
    LAST_OF_STEP,
    STEPS,
    Form,
    Part,
    Span,
    after_prompt,
    parts_of,
    show,
    spans_of,
)

A, B, C = Form("a"), Form("b"), Form("c")


def test_what_overlaps_belongs_to_the_earlier_kernel():
    spans = [Span(B, 8, 20), Span(A, 0, 10), Span(A, 25, 26), Span(C, 12, 15)]
    assert parts_of(spans) == [Part(A, 2, 11.0), Part(B, 1, 10.0), Part(IDLE, 0, 5.0), Part(C, 1, 0.0)]


def test_the_parts_are_the_whole():
    spans = [Span(Form(name), begin, begin + 3.0) for begin, name in enumerate("abcab")]
    assert sum(part.microseconds for part in parts_of(spans)) == 7.0


def test_nothing_ran():
    assert parts_of([]) == []


def test_the_prompt_is_left_out():
    last = Form(LAST_OF_STEP)
    spans = [Span(last, 10, 11), Span(A, 0, 5), Span(B, 12, 14), Span(last, 14, 15)]
    assert after_prompt(spans) == [Span(B, 12, 14), Span(last, 14, 15)]


def test_a_trace_is_read():
    told = {"grid": [264, 1, 1], "registers per thread": 128, "warps per SM": 16.0}
    events = [
        {"cat": "kernel", "name": "decode_kernel", "ts": 5.0, "dur": 2.5, "args": told},
        {"cat": "gpu_memcpy", "name": "Memcpy", "ts": 9.0, "dur": 1.0, "args": {}},
        {"cat": "cuda_runtime", "name": "cudaGraphLaunch", "ts": 1.0, "dur": 1.0, "args": {}},
    ]
    assert spans_of({"traceEvents": events}) == [
        Span(Form("decode_kernel", (264, 1, 1), 128, 16.0), 5.0, 7.5),
        Span(Form("Memcpy"), 9.0, 10.0),
    ]


def test_a_step_is_shown():
    text = show([Part(Form("a", (4, 1, 1), 80, 16.0), 2 * STEPS, 30.0 * STEPS), Part(IDLE, 0, 10.0 * STEPS)])
    assert "4x1x1" in text
    assert "75.0%" in text
    assert text.endswith("40 µs a step")
