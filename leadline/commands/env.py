"""``leadline env``."""

import shlex

import click

from leadline.state import StateDir, state_option


@click.command()
@state_option
@click.option("--admin", is_flag=True, help="The admin key instead of the demo key.")
def env(state: StateDir, admin: bool) -> None:
    """Print the gateway's address and a key as shell variables.

    \b
    eval "$(leadline env)"
    curl -s "$LEADLINE_URL/predict" -H "Authorization: Bearer $LEADLINE_KEY" …
    """
    key = state.read_credentials()["admin_key" if admin else "demo_key"]
    click.echo(f"export LEADLINE_URL={shlex.quote(state.read_endpoints()['gateway'])}")
    click.echo(f"export LEADLINE_KEY={shlex.quote(key)}")
