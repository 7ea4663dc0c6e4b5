"""``leadline init``."""

import click

from leadline.local.keys import make_first_key
from leadline.state import StateDir, state_option


@click.command()
@state_option
def init(state: StateDir) -> None:
    """Make the gateway's first admin key and print it, once; start nothing.

    For platforms that something else than `leadline up` starts, such as Docker Compose. Does
    nothing where keys exist.
    """
    admin_key = make_first_key(state)
    if admin_key is None:
        click.echo("There are keys already; nothing was made.")
        return
    click.echo(f"admin key, shown this once and stored nowhere: {admin_key}")
