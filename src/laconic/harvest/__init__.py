"""From stored traffic to problems and preferences for the next training."""
