"""The one kind of error a user is meant to read."""


class ConfigError(ValueError):
    """A choice that cannot be carried out.

    The message is one sentence that names the key, the value, what is allowed and the remedy; the command line prints
    it alone on stderr and exits with code 1 (HYDRA_FULL_ERROR=1 brings the traceback back).
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


def one_line(text: str) -> str:
    """The text with what would end a line or move a terminal's cursor written as an escape: what it quotes may be anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class NotDefined(ConfigError):
    """Choices that are each fine and exclude each other: a sweep over a grid skips such a cell and lists it."""


class NotComparable(ConfigError):
    """Runs whose bounds are of different things: each is right, and no difference between them means anything."""


def check_seed(key: str, seed: int) -> None:
    """ConfigError unless it is a number of 64 bits."""
    if not -(1 << 63) <= seed < 1 << 63:
        raise ConfigError(f"{key}={seed} must be an integer of at most 63 bits; 0, 1, 2 are good seeds.")
