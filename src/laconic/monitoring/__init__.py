"""Figures of stored traffic over time: pages, alarms, live comparisons."""
