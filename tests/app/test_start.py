"""What starting the console loads: never torch, and nothing slow before the first paint."""

import subprocess
import sys

HEAVY = (
    "torch",
    "transformers",
    "triton",
    "numpy",
    "sqlite_utils",
    "huggingface_hub",
    "pynvml",
    "textual_plot",
)

LOADED = """
import sys
from fqconsole.app.console import FqConsole
app = FqConsole()
print(*[name for name in {heavy!r} if name in sys.modules])
"""

WHOLE = """
import asyncio, sys
from fqconsole.app.console import FqConsole

async def main():
    app = FqConsole()
    async with app.run_test(size=(80, 24)) as pilot:
        for key in "123456":
            await pilot.press(key)
            await app.workers.wait_for_complete()
            await pilot.pause()

asyncio.run(main())
print(*[name for name in ("torch", "transformers", "triton") if name in sys.modules])
"""


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()


def test_the_application_is_made_without_anything_heavy():
    assert run(LOADED.format(heavy=HEAVY)) == []


def test_all_screens_on_the_real_rooms_load_no_torch():
    assert run(WHOLE) == []
