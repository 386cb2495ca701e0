"""What shells are told after a Tab: where a command has nothing to propose, names of files.

Most of what commands take are files and folders, and a shell that asks us proposes none by itself.
"""

from __future__ import annotations

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)


class _OrFiles(ShellComplete):
    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        found = super().get_completions(args, incomplete)
        if found or not args or incomplete.startswith("-"):
            return found
        return [CompletionItem(incomplete, type="file")]


class _Bash(_OrFiles, BashComplete):
    pass


class _Zsh(_OrFiles, ZshComplete):
    pass


class _Fish(_OrFiles, FishComplete):
    pass


def prepare() -> None:
    """Answer shells so from now on."""
    for shell in (_Bash, _Zsh, _Fish):
        add_completion_class(shell)
