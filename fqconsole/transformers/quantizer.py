"""The quantizer that stands in transformers' registry for `compressed-tensors`.

It takes folders that fqconsole wrote and hands all others on to transformers' own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizer_compressed_tensors import CompressedTensorsHfQuantizer
from transformers.utils import is_compressed_tensors_available

from fqconsole import __version__
from fqconsole.errors import OperatorError
from fqconsole.models.weight_files import read_tensors
from fqconsole.transformers.modules import PackedModule
from fqconsole.transformers.placement import Placement, missing_places, place_packed
from quantizer.manifest import MANIFEST
from quantizer.reader import open_checkpoint

MARK = "fqconsole"  # in the metadata of the files that `save_pretrained` writes


class PackedQuantizer(CompressedTensorsHfQuantizer):
    """Loads our checkpoints onto the fused kernels, packed from file to GPU."""

    def __init__(self, quantization_config: Any, **kwargs: Any) -> None:
        self.placement: Placement | None = None  # None: not ours, or not known yet
        if is_compressed_tensors_available():
            super().__init__(quantization_config, **kwargs)
        else:
            HfQuantizer.__init__(self, quantization_config, **kwargs)

    def validate_environment(self, *args: Any, **kwargs: Any) -> None:
        """Whose folder it is turns out later; a missing compressed-tensors is told then."""
        if is_compressed_tensors_available():
            super().validate_environment(*args, **kwargs)

    def preprocess_model(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Put packed modules into the model on meta. Raises OperatorError for a tensor that is missing."""
        folder = our_folder(kwargs.get("checkpoint_files"))
        if folder is None:
            CompressedTensorsHfQuantizer.validate_environment(self)
            return super().preprocess_model(model, *args, **kwargs)
        if getattr(self.quantization_config, "dequantize", False):
            raise OperatorError(
                "fqconsole.transformers loads packed weights and does not dequantize them.",
                f"Make a 16-bit model first: fqconsole export {folder} --to 16bit.",
            )
        model.is_quantized = True
        model.quantization_method = self.quantization_config.quant_method
        infos = {info.name: info for info in read_tensors(folder)}
        with open_checkpoint(folder) as checkpoint:
            self.placement = place_packed(model, checkpoint, infos)
        missing = missing_places(model, infos, self)
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise OperatorError(
                f"The tensor {missing[0]}{more} of {type(model).__name__} is missing in {folder}; a model is "
                "never run with made-up weights.",
                "Quantize the model again, or open it with the class that its config.json names.",
            )
        return model

    def postprocess_model(self, model: Any, **kwargs: Any) -> Any:
        """Bring the packed weights into the form that their device multiplies with."""
        made = super().postprocess_model(model, **kwargs)
        if self.placement is not None:
            for module in model.modules():
                if isinstance(module, PackedModule):
                    module.requires_grad_(False)
                    if not module._offloaded():
                        module.prepare()
        return made

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        return (
            model
            if self.placement is not None
            else super()._process_model_after_weight_loading(model, **kwargs)
        )

    def get_weight_conversions(self) -> list[Any]:
        return [] if self.placement is not None else list(super().get_weight_conversions())

    def update_weight_conversions(self, weight_conversions: list[Any], *model: Any) -> list[Any]:
        """Ours first: in transformers up to 5.20 the rule for `.weight` would take `.weight_packed` too."""
        if self.placement is None:
            return list(super().update_weight_conversions(weight_conversions, *model))
        return [*self.placement.converters(), *weight_conversions]

    def get_state_dict_and_metadata(self, model: Any) -> tuple[Any, dict[str, str]]:
        """What is saved can be loaded by us again."""
        if self.placement is None:
            state, metadata = super().get_state_dict_and_metadata(model)
            return state, metadata
        return None, {MARK: __version__}

    def is_serializable(self, *args: Any, **kwargs: Any) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return self.placement is None and bool(super().is_trainable)


def our_folder(files: Sequence[str] | None) -> Path | None:
    """The folder of `files`, if fqconsole wrote it or `save_pretrained` did from a checkpoint of ours."""
    if not files or not str(files[0]).endswith(".safetensors"):
        return None
    folder = Path(files[0]).parent
    if (folder / MANIFEST).is_file():
        return folder
    with safe_open(files[0], framework="pt") as opened:
        metadata = opened.metadata() or {}
    return folder if MARK in metadata else None
