"""The accelerator as Amaranth components: `latte.rtl.engines` names the engines, each a package of its blocks."""
