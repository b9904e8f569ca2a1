"""The local generation session: packed weights straight to the device, KV cache, decode loop, sampling."""
