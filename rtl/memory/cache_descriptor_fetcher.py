"""Reader of descriptors of the core with keys in memory."""

from amaranth import Cat, Value
from amaranth.lib import data

from latte.rtl.axi.descriptor_fetcher import DescriptorFetcher
from latte.rtl.memory.cache_descriptors import CacheType, cache_causes_layout, cache_descriptor_layout

__all__ = ["CacheDescriptorFetcher"]


class CacheDescriptorFetcher(DescriptorFetcher):
    """Reads and checks as `DescriptorFetcher` does; of numbers, what `latte.golden.memory.jobs.CacheJob` checks.

    Parameters
    ----------
    parameters
        Of the master.
    """

    def _layouts(self) -> tuple[data.StructLayout, data.StructLayout]:
        return cache_descriptor_layout(), cache_causes_layout()

    def _unknown(self, fields: data.View) -> Value:
        return ~Cat(fields.type == known for known in CacheType).any()

    def _wrong(self, fields: data.View) -> dict[str, Value]:
        names = [name for name in fields.shape().members if str(name).endswith(("_address", "_stride"))]
        append, decode = fields.type == CacheType.APPEND, fields.type == CacheType.DECODE
        asks = (fields.queries != 0) & (fields.heads != 0)
        too_many = decode & ((fields.queries != 1) | (fields.rows > 1))
        return {"reserved_set": fields.reserved_flags.any() | fields.reserved_half.any(),
                "unaligned": self._odd(fields, names),
                "shape_invalid": (append & (fields.queries != 0)) | (~append & ~asks) | too_many}
