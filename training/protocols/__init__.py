"""Evaluation protocols: who is held out, what is asked, and which methods answer."""
