"""Hypothesis profiles: `ci` draws the same examples each time, `deep` many and new ones.

`pytest --hypothesis-profile=deep` takes the second for every property.
"""

from hypothesis import settings

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("deep", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile("ci")
