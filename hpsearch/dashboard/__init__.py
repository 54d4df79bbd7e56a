"""The Optuna dashboard with access control, the pages and plots of hpsearch, and quick storage reads."""
