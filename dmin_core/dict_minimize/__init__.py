"""The interface of dict_minimize 0.0.4 (Twitter, 2020), so that its programs run after changing one import line.

``from dict_minimize.torch_api import minimize`` becomes ``from dmin_core.dict_minimize.torch_api import minimize``;
nothing else changes: `fun` returns ``(value, OrderedDict of gradients)`` and the solution comes back as an OrderedDict.
``docs/migrate.md`` shows the modern call, which needs no gradients.
"""
