"""Published ways to choose which keys matter, as integer filters behind one interface that counts their work."""

from latte.golden.filters.a3 import A3
from latte.golden.filters.base import FILTERS, FilterInput, KeyFilter, parse_filter
from latte.golden.filters.dense import Dense
from latte.golden.filters.elsa import Elsa
from latte.golden.filters.energon import Energon
from latte.golden.filters.top_k import TopK
from latte.golden.filters.top_theta import TopTheta

__all__ = ["A3", "FILTERS", "Dense", "Elsa", "Energon", "FilterInput", "KeyFilter", "TopK", "TopTheta", "parse_filter"]
