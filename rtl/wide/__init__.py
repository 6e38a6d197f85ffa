"""The engine ``latte``: a PE array, a filter and survivor units that work on many keys at a time."""
