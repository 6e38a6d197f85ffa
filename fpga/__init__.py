"""Boards: synthesis, timing, bitstreams, the host link and its driver, and the report."""
