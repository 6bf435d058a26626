"""Meta-learning algorithms, one a file: how one batch of episodes becomes a loss."""
