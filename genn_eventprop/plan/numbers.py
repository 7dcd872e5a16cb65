"""Names of `plan.coefficients` as the native engine still imports them."""

from .coefficients import basis_size
from .coefficients import coefficient_names as value_names
from .coefficients import coefficient_values as value_arrays

__all__ = ["basis_size", "value_arrays", "value_names"]
