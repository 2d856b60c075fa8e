from __future__ import annotations

import pytest

from geusemaker.local_cloud.containers.options import UsageError, parse

FLAGS = {"-a": "all", "--all": "all", "-q": "quiet", "-n": "tail=", "--tail": "tail=", "-e": "env[]", "-i": "stdin"}


@pytest.mark.parametrize(
    ("argv", "options", "arguments"),
    [
        (["-aq", "x"], {"all": True, "quiet": True}, ["x"]),
        (["-n5"], {"tail": "5"}, []),
        (["--tail=5", "x", "--all"], {"tail": "5", "all": True}, ["x"]),
        (["-e", "A=1", "-e", "B=2"], {"env": ["A=1", "B=2"]}, []),
        (["--", "--all"], {}, ["--all"]),
        (["--all=false"], {"all": False}, []),
        (["-"], {}, ["-"]),
    ],
)
def test_parsing(argv: list[str], options: dict[str, object], arguments: list[str]) -> None:
    assert parse(argv, FLAGS, "docker x") == (options, arguments)


def test_flags_after_the_command_belong_to_it() -> None:
    assert parse(["-i", "c", "psql", "-a"], FLAGS, "docker exec", interspersed=False) == (
        {"stdin": True},
        ["c", "psql", "-a"],
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["-z"], "unknown shorthand flag: 'z' in -z"),
        (["--tail"], "flag needs an argument: --tail"),
    ],
)
def test_mistakes_are_told_as_docker_tells_them(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(argv, FLAGS, "docker x")
