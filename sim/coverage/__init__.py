"""What of the hardware the simulations reach: branches, toggles, and the points of a plan."""
