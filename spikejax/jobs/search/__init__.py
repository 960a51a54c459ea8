"""Searches for the best configuration, by any number of workers. What needs Optuna, an extra, is in `job`."""

from .space import SearchPlan, SearchRange, SearchTable, load_search

__all__ = ["SearchPlan", "SearchRange", "SearchTable", "load_search"]
