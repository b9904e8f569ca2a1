"""A download from a hub on this machine, killed half way: what is there is used by the next one."""

import signal
import threading
import time

import pytest

from tests.faults.conftest import some
from tests.faults.operator import Operator, kill
from tests.models.fake_hub import FakeHub, running

MODEL = "someone/demo"


@pytest.mark.slow
@pytest.mark.parametrize("number", some([signal.SIGKILL, signal.SIGTERM], 1))
def test_a_download_that_was_ended_goes_on(model, tmp_path, number):
    named = ("*.safetensors", "*index.json", "config.json", "tokenizer*.json")
    files = {path.name: path.read_bytes() for pattern in named for path in model.glob(pattern)}
    with running(FakeHub({MODEL: files})) as hub:
        settings = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")}
        operator = Operator(tmp_path / "home", settings | {"HF_HUB_DISABLE_XET": "1"})
        hub.hold.clear()  # every file stops at its half
        command = operator.start("models", "download", MODEL)
        command.begin()
        give_up = time.monotonic() + 60
        while hub.sent < 1_000_000:
            assert time.monotonic() < give_up, command.wait()
            time.sleep(0.02)
        kill(command.process.pid, number)
        threading.Timer(1.0, hub.hold.set).start()
        ended = command.wait()
        assert ended.code == (-number if number == signal.SIGKILL else 128 + number)
        operator.require_sound()
        again = operator.run("models", "download", MODEL)
        assert again.code == 0, again.err
        operator.require_sound()
        snapshot = next((tmp_path / "hf").rglob("model.safetensors.index.json")).parent
        assert {name: (snapshot / name).read_bytes() for name in files} == files
        assert list((tmp_path / "hf").rglob("*.incomplete")) == []
        assert operator.run("fit", MODEL, "--json").code in {0, 3}
