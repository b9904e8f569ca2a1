"""The thread that holds the record: what is overtaken before its turn is never read."""

import asyncio
import threading

from fqconsole.app.store_thread import StoreThread


async def test_a_call_that_is_given_up_before_its_turn_is_never_made():
    gate, made = threading.Event(), []
    thread = StoreThread(object)
    first = asyncio.create_task(thread.call(lambda _store: gate.wait(10)))
    second = asyncio.create_task(thread.call(lambda _store: made.append("overtaken")))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    gate.set()
    assert await first
    await thread.call(lambda _store: made.append("last"))
    thread.close()
    assert made == ["last"]
