"""The core whose keys and values lie in external memory: page tables, one stream of high planes, survivors fetched."""
