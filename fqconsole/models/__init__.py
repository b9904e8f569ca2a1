"""Finding checkpoints (built in, folders, hub cache, hub) and describing them from config and safetensors headers."""
