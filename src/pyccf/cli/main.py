"""Entry point of the `pyccf` program: finds the command and turns errors into two lines.

Promises: what a person did wrong or the service refused comes out as two lines on standard error
and a non-zero exit code; a traceback means a bug of ours. The node program keeps the exit codes of
the original (spec: config-and-cli.md §1); all other commands exit 1 when something failed and 2
when they were called wrongly.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from pyccf import CCF_VERSION

VERSION_TEXT = f"CCF host: {CCF_VERSION}\nPlatform: Virtual"

ASKED_BY_SHELL = "_PYCCF_COMPLETE"
"""Set by a shell that wants to know how to go on after a Tab."""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["node"]:
        from pyccf.cli import node

        return node.main(arguments[1:])
    if arguments[:1] in (["--version"], ["-v"]):
        print(VERSION_TEXT)
        return 0
    return _command(arguments)


def _command(arguments: list[str]) -> int:
    import click

    from pyccf.cli.root import root
    from pyccf.errors import PyccfError

    if ASKED_BY_SHELL in os.environ:
        from pyccf.cli import completion

        completion.prepare()
    try:
        result = root.main(args=arguments, prog_name="pyccf", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help() if error.ctx else error.format_message())
        return EXIT_USAGE
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "pyccf"
        return _fail(error.format_message(), f"See: {where} --help", EXIT_USAGE)
    except click.ClickException as error:
        return _fail(error.format_message(), "See: pyccf --help", EXIT_FAILED)
    except click.Abort:
        return EXIT_INTERRUPTED
    except PyccfError as error:
        first, _, second = error.explain().partition("\n")
        return _fail(first, second, EXIT_FAILED)
    except BrokenPipeError:
        # The reader of our output went away, which is its right; nothing more can be said to it.
        _drop_output()
        return EXIT_FAILED
    except OSError as error:
        # A disk is full, also the one that our output goes to, or a file vanished.
        _drop_output()
        what = f"{error.filename}: " if error.filename else "Could not write the output: "
        return _fail(f"{what}{error.strerror or error}", "", EXIT_FAILED)
    return result if isinstance(result, int) else 0


def _drop_output() -> None:
    """What is still to be written goes nowhere; Python would complain about it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, hint: str, code: int) -> int:
    from pyccf.cli.output import harmless

    first = harmless(" ".join(message.split()))
    second = harmless(" ".join(hint.split())) or "See: pyccf --help"
    print(f"Error: {first}\n{second}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
