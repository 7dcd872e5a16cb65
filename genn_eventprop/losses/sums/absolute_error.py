"""L = sum_c |r_c - y_c|: less sensitive to outliers than the squared error."""

from .base import Sum

ABSOLUTE_ERROR = Sum("abs(r - y)", compares="targets")
