"""``leadline``, the command line. A command's module is imported when it is used, not before."""

from importlib import import_module

import click

_COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module under leadline.commands, short help; kept here so that --help imports nothing)
    "up": ("up", "Start the platform on this machine."),
    "down": ("up", "Stop the platform."),
    "init": ("init", "Make the first admin key of a platform that containers run."),
    "status": ("status", "Say what runs and whether it is ready."),
    "env": ("env", "Print the gateway's address and a key as shell variables."),
    "doctor": ("doctor", "Look for what could keep the platform from running."),
    "logs": ("logs", "Show what the processes wrote."),
    "predict": ("predict", "Ask for a prediction through the gateway."),
    "publish": ("publish", "Publish a fitted model as a new version."),
    "models": ("models", "Model versions: list, show, compare, publish."),
    "rollout": ("rollout", "Rollouts: start, watch, approve, take back."),
    "experiment": ("experiment", "A/B experiments: start, read, stop."),
    "audit": ("audit", "The audit log: list, verify, export."),
    "bench": ("bench", "Load the running platform and say where the time went."),
    "keys": ("keys", "Make, list and revoke API keys."),
    "drift": ("monitoring", "Test each feature of a model against its training baseline."),
    "quality": ("monitoring", "Compare a model's predictions with the labels that have come."),
    "labels": ("labels", "Send labels from a CSV or JSON-lines file."),
    "alerts": ("monitoring", "List, acknowledge and silence alerts."),
    "report": ("monitoring", "Write a model's last nightly report as one HTML page."),
    "features": ("features", "The feature store: definitions, values, histories, proofs."),
    "demo": ("demo", "Live through December 2013 on a simulated clock."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they run."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = import_module(f"leadline.commands.{_COMMANDS[name][0]}")
        command = getattr(module, name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in _COMMANDS.items()])

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, arguments)
        except click.UsageError as error:
            raise _with_suggestion(error, arguments[0]) from None


def _with_suggestion(error: click.UsageError, given: str) -> click.UsageError:
    from difflib import get_close_matches

    close = get_close_matches(given, _COMMANDS, n=1)
    if not close:
        return error
    return click.UsageError(f"No such command {given!r}. Did you mean {close[0]!r}?", error.ctx)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="leadline")
def main() -> None:
    """Leadline serves machine-learning models and keeps them honest."""


if __name__ == "__main__":
    main()
