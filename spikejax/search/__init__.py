"""Search of hyper-parameters: which configuration is best, asked of Optuna (the extra
``spikejax[search]``)."""

from .run import search_run
from .space import Plan, Range, Search, load_search

__all__ = ["Plan", "Range", "Search", "load_search", "search_run"]
