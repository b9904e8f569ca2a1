"""The built-in demo models: their weights, and the corpus generator and training script that made them."""
