"""From the core to a board: synthesis, placement, host link, driver, sizing, benchmark, report, command line."""
