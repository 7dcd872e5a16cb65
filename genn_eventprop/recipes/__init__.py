"""Recipes: from the facts of a data set to settings that learn, each with its reason.

`facts_of` measures a training set, `recipe` applies the `RULES`. ``genn-eventprop train DATA`` and `Trainer.auto` take
all of their settings from here; `Trainer` and pages take what they leave open: the rate, and the number of updates.
"""

from .facts import Facts, facts_of
from .held_out import held_out_groups, split_off
from .rules import PLAIN_RATE, RELATIVE_RATE, RULES, Choice, Rule, epochs_for, recipe, recipe_of

__all__ = [
    "PLAIN_RATE", "RELATIVE_RATE", "RULES", "Choice", "Facts", "Rule", "epochs_for", "facts_of", "held_out_groups",
    "recipe", "recipe_of", "split_off",
]  # fmt: skip
