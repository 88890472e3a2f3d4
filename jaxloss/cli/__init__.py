"""The command line: thin commands over the public functions.

What is heavy to import is imported by the command that needs it.
"""

import os
import sys
from collections.abc import Sequence

import tyro

from jaxloss import __version__
from jaxloss.cli import critical_points, lecture, measure, registries, reproduce, sweep
from jaxloss.errors import InputError
from jaxloss.startup import SWITCH

DESCRIPTION = f"""Where does gradient descent end up? (--version prints the version)

Compiled programs are kept for the next time in $XDG_CACHE_HOME/jaxloss, by default ~/.cache/jaxloss, or in
$JAX_COMPILATION_CACHE_DIR; {SWITCH}=off keeps none."""

COMMANDS = {
    "sweep": sweep.sweep,
    "resume": sweep.resume,
    "verify": sweep.verify,
    "plot": sweep.plot,
    "measure": measure.measure,
    "critical-points": critical_points.critical_points,
    "lecture": lecture.lecture,
    "reproduce": reproduce.reproduce,
    "problems": registries.problems,
    "optimizers": registries.optimizers,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
      argv: the arguments; those of the process by default.

    Returns:
      The exit code: 0, 1 where the installed jaxlib computes wrong sums, 2 after bad input, 130 when
      interrupted, 141 when nobody reads the output.

    Raises:
      SystemExit: after ``--help`` (code 0), or arguments that do not parse (code 2).
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if argv == ["--version"]:
            print(f"jaxloss {__version__}")
        else:
            tyro.extras.subcommand_cli_from_dict(
                COMMANDS,
                prog="jaxloss",
                description=DESCRIPTION,
                args=argv,
            )
        print(end="", flush=True)
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        from jaxloss.engine import WrongSumsError

        if not isinstance(error, WrongSumsError):
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(": ".join(["interrupted", *map(str, error.args)]), file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output has gone; the interpreter must not flush into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0
