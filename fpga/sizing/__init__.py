"""Which build suits a device and a keep ratio: block areas, cycle model, sweep, roofline (``latte size``)."""
