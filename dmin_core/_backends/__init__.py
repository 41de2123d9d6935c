"""Backends that come with the core: NumPy alone. The others are distributions of their own.

Not called `backends`: that is the function, and importing a subpackage would put itself in its place.
"""
