"""One model on several GPUs: a process a GPU, with its part of each matrix or with some of the layers."""
