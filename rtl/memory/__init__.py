"""The hardware of cores with keys and values in memory: so far the selection of survivors in one stream."""
