"""From a component to mapped cells: families, areas per block against a baseline (``latte area``)."""
