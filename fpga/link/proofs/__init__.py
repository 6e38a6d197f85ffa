"""What is proved of the host's link, in the settings of `latte.sim.formal`."""

from latte.fpga.link.proofs import host_link, parts

__all__ = ["PROOFS"]

PROOFS = (*parts.PROOFS, *host_link.PROOFS)
