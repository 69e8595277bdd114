"""Criteria of a gate, for the tests of decisions and of the page that shows them."""

from negalign_train.recipe.gate import GateSettings

SETTINGS = GateSettings(
    min_cases=100,
    max_category_increase=0.02,
    max_severe_rate_increase=0.01,
    length_ratio=(0.8, 1.25),
    max_template_share_increase=0.05,
    min_distinct_ratio=0.5,
    max_placeholder_rate=0.01,
    max_unscored_rate=0.02,
    max_kl_to_parent=0.5,
    max_kl_to_base=1.0,
    max_reference_logps_drop=0.1,
    max_retention_increase=0.03,
)
