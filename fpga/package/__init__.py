"""What a system on chip takes of the core behind AXI: hardware, register descriptions, drivers, packages of tools."""
