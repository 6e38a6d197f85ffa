"""LATTE and its dense baseline side by side: cycles, utilisation, area and work, in one run (``latte bench``)."""
