"""Testbenches: drivers, monitors, scoreboard and runners that hold the RTL to the golden model in a simulator."""
