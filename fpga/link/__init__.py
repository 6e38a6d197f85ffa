"""The host link in gateware: protocol, frames, UART, and the core that hangs on it."""
