"""``geusemaker update``: a change of a running deployment."""

from __future__ import annotations

from geusemaker.cli import options
from geusemaker.cli.session import session

EXAMPLES = (
    "geusemaker update prod --image n8n=n8nio/n8n:2.43.3 --reason 'new editor'",
    "geusemaker update prod --instance-type t3.xlarge --without crawl4ai --dry-run",
)


def update(
    name: options.Name = None,
    instance_type: options.InstanceType = None,
    service: options.MoreServices = None,
    without: options.Without = None,
    image: options.Image = None,
    env: options.Env = None,
    ami: options.Ami = None,
    root_volume: options.RootVolume = None,
    data_volume: options.DataVolume = None,
    auto_rollback_on_failure: options.AutoRollbackSetting = None,
    deadline: options.Deadline = None,
    retention: options.Retention = None,
    health_deadline: options.HealthDeadline = None,
    settle_seconds: options.SettleSeconds = None,
    no_auto_rollback: options.NoAutoRollback = False,
    no_checkpoint: options.NoCheckpoint = False,
    allow_replace: options.AllowReplace = False,
    allow_data_downgrade: options.AllowDataDowngrade = False,
    reason: options.Reason = "",
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    output: options.Output = "text",
) -> None:
    """Change a deployment: instance type, images, services, environment, settings."""
    with session("update", output, name=name, yes=yes) as current:
        from geusemaker.cli import requests
        from geusemaker.models.request import UpdateRequest

        request = UpdateRequest(
            instance_type=instance_type,
            services=requests.parse_services(service or ()),
            without=requests.parse_services(without or ()),
            images=requests.parse_images(image or ()),
            environment=requests.parse_environment(env or ()),
            ami=ami,
            root_volume_gib=root_volume,
            data_volume_gib=data_volume,
            auto_rollback_on_failure=auto_rollback_on_failure,
            deadline_minutes=deadline,
            retention=retention,
            health_deadline_seconds=health_deadline,
            settle_seconds=settle_seconds,
            auto_rollback=False if no_auto_rollback else None,
            checkpoint=not no_checkpoint,
            allow_replace=allow_replace,
            allow_data_downgrade=allow_data_downgrade,
            reason=reason,
            dry_run=dry_run,
        )
        deployment = current.open_deployment(name, dry_run=dry_run)
        current.finish(deployment.update(request, confirm=current.confirm, on_event=current.on_event))
