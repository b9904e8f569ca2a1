"""What quantization costs a model, ours and that of others, against real bits per weight."""
