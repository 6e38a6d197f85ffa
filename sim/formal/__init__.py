"""Proofs: what holds of a block for all inputs, not only for those of a test."""
