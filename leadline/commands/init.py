"""``leadline init``."""

import click

from leadline.local.keys import make_first_key
from leadline.state import StateDir, state_option


@click.command()
@state_option
@click.option(
    "--env",
    default="local",
    show_default=True,
    envvar="LEADLINE_KEY_ENV",
    help="The <env> in the key, as the gateway's own setting.",
)
def init(state: StateDir, env: str) -> None:
    """Make the gateway's first admin key and print it, once; start nothing.

    For platforms that something else than `leadline up` starts, such as Docker Compose. Does
    nothing where keys exist.
    """
    admin_key = make_first_key(state, env)
    if admin_key is None:
        click.echo("There are keys already; nothing was made.")
        return
    click.echo(f"admin key, shown this once and stored nowhere: {admin_key}")
