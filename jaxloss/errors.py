"""The one exception for bad input, and the hint towards the nearest valid name."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: one sentence that names the field and what would be right.

    The command line prints it on stderr and exits with code 2, without a traceback.
    """


def unknown(what: str, name: object, options: Iterable[str]) -> InputError:
    """The error for a name that is not in a registry, with the nearest valid one.

    Args:
      what: the kind of thing, such as ``"activation"``.
      name: what was asked for.
      options: the valid names.

    Returns:
      An `InputError`, to be raised by the caller.

    Examples:
      >>> str(unknown("loss", "mze", ["mse", "sse"]))
      "unknown loss 'mze': did you mean 'mse'? Valid: mse, sse"
    """
    options = sorted(options)
    close = difflib.get_close_matches(str(name), options, n=1, cutoff=0.5)
    hint = f" did you mean {close[0]!r}?" if close else ""
    return InputError(f"unknown {what} {name!r}:{hint} Valid: {', '.join(options)}")
