"""The one kind of error a user is meant to read."""


class ConfigError(ValueError):
    """A choice that cannot be carried out.

    The message is one sentence that names the key, the value, what is allowed and the remedy; the command line prints
    it alone on stderr and exits with code 1 (HYDRA_FULL_ERROR=1 brings the traceback back).
    """


class NotDefined(ConfigError):
    """Choices that are each fine and exclude each other: a sweep over a grid skips such a cell and lists it."""
