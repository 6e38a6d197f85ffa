"""What is claimed of each block: a module for blocks that belong together."""
