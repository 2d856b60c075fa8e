"""What a change costs without geusemaker: a bare Automation API script on the same program.

Usage: python -m benchmarks.bare_script STACK IMAGE. It is timed as a fresh process: imports, select, set config,
preview, up. The operation's id is new each time, as it has to be for the commands on the instance to run.
"""

from __future__ import annotations

import json
import os
import secrets
import sys

from pulumi import automation as auto

from geusemaker.program.stack import define_stack


def main() -> None:
    stack_name, image = sys.argv[1:3]
    stack = auto.select_stack(
        stack_name,
        program=define_stack,
        project_name="geusemaker",
        work_dir=os.environ["GEUSEMAKER_HOME"],
        opts=auto.LocalWorkspaceOptions(work_dir=os.environ["GEUSEMAKER_HOME"]),
    )
    config = json.loads(stack.get_config("geusemaker:deployment").value)
    version = json.loads(stack.get_config("geusemaker:version").value)
    config["services"]["ollama"]["image"] = image
    version["previous_operation_id"] = version["operation_id"]
    version["operation_id"] = f"bare-{secrets.token_hex(4)}"
    version["takes_over"] = True
    version["number"] += 1
    stack.set_all_config(
        {
            "geusemaker:deployment": auto.ConfigValue(json.dumps(config)),
            "geusemaker:version": auto.ConfigValue(json.dumps(version)),
        }
    )
    stack.preview()
    stack.up()


if __name__ == "__main__":
    main()
