"""``edgeroot migrate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.frame import command
from edgeroot.cli.output import listing, note, printable

if TYPE_CHECKING:
    from edgeroot.migration.plan import Step
    from edgeroot.migration.take_over import StoreMigration

SECTION = "Run the service"


@command(
    "migrate",
    examples=[
        "sudo -u parsec edgeroot migrate -c /etc/parsec/config.toml --key-files /home/parsec    # what would happen",
        "sudo -u parsec edgeroot migrate -c /etc/parsec/config.toml --key-files /home/parsec --apply",
    ],
)
@click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default="config.toml",
    show_default=True,
    help="Upstream's configuration, which `edgeroot serve` is to use from now on.",
)
@click.option(
    "--key-files",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=".",
    help="The folder with Mbed Crypto's key files (*.psa_its): upstream's working directory. Default: this one.",
)
@click.option("--apply", "applies", is_flag=True, help="Take the keys over. Without it nothing is changed anywhere.")
@click.option("--leave-failed", is_flag=True, help="Take over what can be, although other keys cannot.")
def migrate(config_path: Path, key_files: Path, *, applies: bool, leave_failed: bool) -> None:
    """Take the keys of an upstream Parsec service over, so that each works on under its name for the same client.

    Stop upstream's service first, and run this as the user who will run ours. Upstream's files are read and left as
    they are. An interrupted run is simply run again. Exit code 1 if there are keys that cannot be taken over.
    """
    from edgeroot.keystore.records import KeyStoreError
    from edgeroot.migration.errors import MigrationError

    try:
        stores = _stores(config_path, key_files)
        plans = [(store, store.plan()) for store in stores]
        failed = sum(step.taken is None for _, steps in plans for step in steps)
        done = applies and (leave_failed or not failed)
        if done:
            for store, steps in plans:
                store.carry_out(steps)
    except (MigrationError, KeyStoreError) as error:
        raise CommandError(str(error)) from error
    _show([step for _, steps in plans for step in steps], applied=done)
    if not plans:
        note("there is nothing to take over: no store of upstream's, or all of them were taken over before")
    elif failed and applies and not done:
        note(f"nothing was changed: {failed} cannot be taken over; --leave-failed takes the others")
    elif not applies:
        note("nothing was changed: --apply takes them over")
    raise SystemExit(1 if failed else 0)


def _stores(config_path: Path, key_files: Path) -> list[StoreMigration]:
    """The stores of upstream's that were not taken over yet."""
    from edgeroot.daemon.assembly import provider_types
    from edgeroot.daemon.config import ConfigError, load_config
    from edgeroot.migration.take_over import StoreMigration, check_stopped

    types = provider_types()
    try:
        config = load_config(config_path, types)
    except ConfigError as error:
        raise CommandError(str(error)) from error
    check_stopped(config)
    used = {provider.key_info_manager for provider in config.providers}
    stores = [
        StoreMigration(config, manager, types, key_files)
        for manager in config.key_managers
        if manager.name in used and manager.path.exists()
    ]
    return [store for store in stores if not store.is_done]


def _show(steps: list[Step], *, applied: bool) -> None:
    rows = []
    for step in steps:
        record = step.record
        outcome = step.problem or ("taken over" if applied else "can be taken over")
        rows.append((record.application, str(record.provider), record.key_name, outcome))
    listing(
        {
            "applied": applied,
            "keys": [
                {
                    "application": step.record.application,
                    "provider": step.record.provider,
                    "key_name": step.record.key_name,
                    "problem": step.problem or None,
                }
                for step in steps
            ],
        },
        ("application", "provider", "key", "outcome"),
        [tuple(map(printable, row)) for row in rows],
        ["  ".join(map(printable, row)) for row in rows],
    )
