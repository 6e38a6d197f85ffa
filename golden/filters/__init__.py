"""Published ways to choose which keys matter, as integer filters behind one interface that counts their work."""

from latte.golden.filters.a3 import A3
from latte.golden.filters.base import FilterInput, KeyFilter
from latte.golden.filters.elsa import Elsa
from latte.golden.filters.energon import Energon
from latte.golden.filters.latte import Dense, Latte, LatteExactProduct
from latte.golden.filters.top_k import TopK
from latte.golden.filters.top_theta import TopTheta

__all__ = ["A3", "Dense", "Elsa", "Energon", "FilterInput", "KeyFilter", "Latte", "LatteExactProduct", "TopK",
           "TopTheta"]
