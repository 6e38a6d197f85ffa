"""The accelerator as Amaranth components, one file per block of the diagram in `latte.rtl.attention_core`."""
