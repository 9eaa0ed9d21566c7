"""The pages: one glance answers whether the mirror is in sync, what it does, and who is needed."""
