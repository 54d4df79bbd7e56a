"""The model of a metric over the search space: a functional ANOVA at the first rung, and what it says of levels."""
