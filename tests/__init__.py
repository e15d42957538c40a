"""A package, because avalanche-lib installs a top-level `tests` that would shadow a plain folder."""
