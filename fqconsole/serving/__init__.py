"""What starts vLLM or SGLang on a checkpoint: sizes, kernels, commands, reasons to refuse; torch-free."""
