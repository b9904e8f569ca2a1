"""Pause, resume and cancel from another thread."""

import threading

import pytest

from quantizer.watch import Cancelled, Gate, SilentWatch


def test_an_open_gate_lets_pass():
    Gate().checkpoint()
    SilentWatch().checkpoint()


def test_a_paused_job_holds_until_it_is_resumed():
    gate, passed = Gate(), threading.Event()
    gate.pause()
    assert gate.paused
    thread = threading.Thread(target=lambda: (gate.checkpoint(), passed.set()))
    thread.start()
    assert not passed.wait(0.05)
    gate.resume()
    assert passed.wait(5)
    thread.join()


def test_cancel_ends_a_paused_job_too():
    gate, ended = Gate(), threading.Event()

    def job():
        try:
            SilentWatch(gate).checkpoint()
        except Cancelled:
            ended.set()

    gate.pause()
    thread = threading.Thread(target=job)
    thread.start()
    gate.cancel()
    assert ended.wait(5)
    thread.join()
    gate.pause()
    with pytest.raises(Cancelled):
        gate.checkpoint()
