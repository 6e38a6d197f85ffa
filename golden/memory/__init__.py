"""Keys and values in external memory: the formats, the selection in one stream, and what they move."""
