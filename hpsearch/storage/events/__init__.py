"""What has happened to a study, and what of it a webhook was told."""
