"""The one error that is the user's to mend: the command line prints its message and exits with 2."""


class InputError(ValueError):
    """Bad input. The message names what was found, what was expected and the way out."""
