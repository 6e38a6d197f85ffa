"""The other end of the link: transport, driver, a simulated board, verification (``latte run``)."""

from latte.fpga.host.driver import Board, JobRefused, open_port

__all__ = ["Board", "JobRefused", "open_port"]
