"""Perplexity, KL divergence and top-1 agreement of one session against another."""
