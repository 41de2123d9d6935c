"""Backends that come with the core: NumPy alone. The others are distributions of their own."""
