"""The other end of the link: transport, driver, a simulated board, verification (``latte run``)."""
