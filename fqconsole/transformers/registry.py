"""Where transformers looks up who loads a `compressed-tensors` checkpoint, and what stands there now."""

from typing import Any

from transformers.quantizers import auto
from transformers.utils import is_compressed_tensors_available
from transformers.utils.quantization_config import QuantizationConfigMixin

from fqconsole.transformers.quantizer import PackedQuantizer
from quantizer.config import METHOD


class StoredConfig(QuantizationConfigMixin):
    """The `quantization_config` as it stands in config.json, where compressed-tensors is not installed."""

    dequantize = False

    def __init__(self, quant_method: str = METHOD, **stored: Any) -> None:
        self.quant_method = quant_method
        self.__dict__.update(stored)


def register() -> None:
    """Put the dispatcher in compressed-tensors' place. Done by the import; doing it twice changes nothing."""
    auto.AUTO_QUANTIZER_MAPPING[METHOD] = PackedQuantizer
    if not is_compressed_tensors_available():
        auto.AUTO_QUANTIZATION_CONFIG_MAPPING[METHOD] = StoredConfig
