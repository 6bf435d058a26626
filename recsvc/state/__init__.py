"""State in Redis: users' events, features and adapted states, the event log, run-time items.

Knows nothing of models or HTTP. Start at `store.StateStore` and `embedded.EmbeddedRedis`.
"""
