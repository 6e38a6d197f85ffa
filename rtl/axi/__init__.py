"""The core on an AXI bus: registers behind AXI4-Lite, jobs and rows fetched and written by an AXI4 master."""
