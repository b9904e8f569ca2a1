"""A checkpoint in the formats of other programs, exact or with a word on what is not.

`FORMATS` is torch-free; `export` loads torch when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantizer.export.exporting import Exported, export

__all__ = ["FORMATS", "Exported", "export"]

# The registry of formats: one new format is one new module with `Exporter` and one line here.
FORMATS: dict[str, str] = {
    "16bit": "quantizer.export.dense",
    "gptq": "quantizer.export.gptq",
    "gguf": "quantizer.export.gguf_file",
}


def __getattr__(name: str) -> Any:
    if name not in ("Exported", "export"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.exporting"), name)
