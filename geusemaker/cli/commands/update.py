"""``geusemaker update``: a change of a running deployment."""

from __future__ import annotations

from geusemaker.cli import options, telling
from geusemaker.cli.commands.rehearse import rehearse_first
from geusemaker.cli.config_options import ConfigOptions, with_config_options
from geusemaker.cli.session import session

EXAMPLES = (
    "geusemaker update prod --image n8n=n8nio/n8n:2.43.3 --reason 'new editor'",
    "geusemaker update prod --instance-type t3.xlarge --without crawl4ai --dry-run",
)


@with_config_options
def update(
    name: options.Name = None,
    *,
    service: options.MoreServices = None,
    config: ConfigOptions,
    rendering: options.Rendering = None,
    no_auto_rollback: options.NoAutoRollback = False,
    no_checkpoint: options.NoCheckpoint = False,
    no_advisories: options.NoAdvisories = False,
    allow_replace: options.AllowReplace = False,
    allow_data_downgrade: options.AllowDataDowngrade = False,
    no_way_back: options.NoWayBack = False,
    rehearse: options.Rehearse = False,
    bake: options.Bake = None,
    test: options.Tests = None,
    test_url: options.TestUrls = None,
    reason: options.Reason = "",
    wait_lock: options.WaitLock = None,
    notify: options.Notify = None,
    hook: options.Hook = None,
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    yes: options.Yes = False,
    output: options.Report = "text",
) -> None:
    """Change a deployment: instance type, images, services, environment, settings."""
    with session("update", output, name=name, yes=yes, verbose=verbose) as current:
        from geusemaker.cli import requests
        from geusemaker.models.request import UpdateRequest

        request = UpdateRequest(
            **config.asked(yes=yes),
            services=requests.parse_services(service or ()),
            rendering=rendering,
            auto_rollback=False if no_auto_rollback else None,
            checkpoint=not no_checkpoint,
            advisories=not no_advisories,
            allow_replace=allow_replace,
            allow_data_downgrade=allow_data_downgrade,
            no_way_back=no_way_back or not yes,  # else the question says it
            bake_seconds=None if bake is None else requests.parse_time(bake, "--bake", "10m"),
            tests=tuple(test or ()),
            test_urls=tuple(test_url or ()),
            reason=reason,
            dry_run=dry_run,
        )
        asks = not request.asks_nobody
        deployment = current.open_deployment(name, dry_run=dry_run, asks=asks, wait_lock=wait_lock)
        telling.apply(deployment, notify, hook)
        if rehearse:
            rehearse_first(current, deployment, request.images, reason)
        current.finish(deployment.update(request, confirm=current.confirm, on_event=current.on_event))
