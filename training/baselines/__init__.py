"""Tuned simple methods that every table shows beside ours. One file a family."""
