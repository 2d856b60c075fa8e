from tests.unit.test_agent.conftest import machine, no_power_loss  # noqa: F401 (fixtures)
