"""What vLLM's own Python code says of configs and kernels, without its compiled half or a GPU.

A process of its own, run by test_vllm_code.py: `python vllm_probe.py < questions.json`. The environment
variable FQCONSOLE_VLLM names the folders with vLLM's files and what it imports; docs/serve.md tells how they
are made.
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys
import types
from unittest.mock import MagicMock

# What vLLM imports on its way and configs and kernels never use, and its own compiled half.
UNUSED = ("uvloop", "xgrammar", "opentelemetry", "fastapi", "llguidance", "tvm_ffi", "humming")
COMPILED = ("vllm._C", "vllm._moe_C", "vllm.vllm_flash_attn._vllm_fa")
ASKED = ("cutlass_scaled_mm_supports_block_fp8",)
FUSED = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}


class Hollow(types.ModuleType):
    """A module with every name in it, all of them empty."""

    def __init__(self, name):
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        hollow = {"__class_getitem__": classmethod(lambda cls, _item: cls)}
        value = type(name, (), hollow) if name[:1].isupper() else MagicMock(name=name)
        setattr(self, name, value)
        return value


class HollowFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds those that nothing else found."""

    def find_spec(self, name, _path=None, _target=None):
        if name.partition(".")[0] in UNUSED or name.startswith(COMPILED):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return Hollow(spec.name)

    def exec_module(self, module):
        """Nothing to run."""


def pretend_cuda():
    """Have vLLM believe in a GPU; `pretend_cuda.capability` is its generation."""
    import vllm.platforms
    from vllm.platforms.interface import DeviceCapability, Platform, PlatformEnum

    class Pretended(Platform):
        _enum = PlatformEnum.CUDA
        device_name = "cuda"
        device_type = "cuda"
        capability = 90

        @classmethod
        def get_device_capability(cls, device_id=0):
            return DeviceCapability(*divmod(cls.capability, 10))

    vllm.platforms._current_platform = Pretended()
    return Pretended


def no_operators():
    """The operators of the compiled half that are asked for while modules load: each says no."""
    import torch

    torch.ops._C = types.SimpleNamespace(**{name: lambda *_arguments: False for name in ASKED})


def schemes(question):
    """Of each module in vLLM's name for it: [bits, group], or null where it stays in 16 bits."""
    import torch
    from vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors import (
        CompressedTensorsConfig,
    )

    config = CompressedTensorsConfig.from_config(question["config"])
    config.packed_modules_mapping = FUSED
    found = {}
    for name in question["modules"]:
        scheme = config.get_scheme_dict(torch.nn.Identity(), name)
        weights = None if scheme is None else scheme["weights"]
        found[name] = None if weights is None else [weights.num_bits, weights.group_size]
    return found


def kernel(platform, question):
    """The kernel that vLLM takes."""
    import torch
    from vllm.model_executor.kernels.linear import MPLinearLayerConfig, choose_mp_linear_kernel
    from vllm.model_executor.layers.quantization.compressed_tensors.schemes.compressed_tensors_wNa16 import (
        WNA16_SUPPORTED_TYPES_MAP,
    )

    platform.capability = question["capability"]
    config = MPLinearLayerConfig(
        full_weight_shape=(question["columns"] * question["spread"], question["rows"]),
        partition_weight_shape=(question["columns"], question["rows"]),
        weight_type=WNA16_SUPPORTED_TYPES_MAP[question["bits"]],
        act_type=torch.float16 if question["half"] else torch.bfloat16,
        group_size=-1 if question["group"] is None else question["group"],
        zero_points=False,
    )
    return choose_mp_linear_kernel(config, question["capability"]).__name__.removesuffix("LinearKernel")


def main():
    sys.path[:0] = os.environ["FQCONSOLE_VLLM"].split(os.pathsep)
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    sys.meta_path.append(HollowFinder())
    questions = json.load(sys.stdin)
    no_operators()
    platform = pretend_cuda()
    answers = {
        "schemes": [schemes(question) for question in questions["schemes"]],
        "kernels": [kernel(platform, question) for question in questions["kernels"]],
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
