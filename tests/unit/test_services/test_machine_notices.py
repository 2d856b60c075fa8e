"""What a plan says of the instance."""

from __future__ import annotations

from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import InstanceFacts
from geusemaker.services.machine_notices import machine_notices
from tests.unit.samples import config
from tests.unit.test_checks.test_gpu import with_ollama

CPU = with_ollama(InstanceFacts(memory_mib=8192), instance_type="t3.large", ami="ami-1")
GPU = with_ollama(ami="ami-2")
DRIVEN = [CheckResult(name="GPU", status="pass", detail="ami-2 has the driver")]
FITS_CPU = "Ollama has 5.7 GiB of memory: models of up to about 5.1 GB fit."
FITS_GPU = (
    "Ollama has 11.9 GiB of memory: models of up to about 11 GB fit; of up to about 20 GB into the 22 GiB of the GPU, "
    "which is fast."
)
BACK = "Another machine image is another instance, for the way back as well: that takes --allow-replace, too."


def test_a_first_deploy_is_told_which_models_fit() -> None:
    assert machine_notices(None, CPU, []) == (FITS_CPU,)
    assert machine_notices(None, GPU, DRIVEN) == ("ami-2 has the driver.", FITS_GPU)
    assert machine_notices(None, config(), []) == ()


def test_a_change_of_the_instance_says_what_it_takes() -> None:
    assert machine_notices(CPU, GPU, DRIVEN) == ("ami-2 has the driver.", BACK, FITS_GPU)
    assert machine_notices(GPU, CPU.model_copy(update={"ami": "ami-2"}), []) == (FITS_CPU,), "in place"
    failed = DRIVEN[0].model_copy(update={"status": "fail"})
    assert machine_notices(CPU, GPU, [failed]) == (BACK, FITS_GPU), "a refusal says that itself"


def test_of_what_does_not_change_nothing_is_said() -> None:
    assert machine_notices(GPU, GPU, DRIVEN) == ()
    smaller = CPU.model_copy(update={"services": {"ollama": CPU.services["ollama"]}})
    assert machine_notices(CPU, smaller, []) == ("Ollama has 7.5 GiB of memory: models of up to about 6.7 GB fit.",)


def test_how_an_instance_is_bought() -> None:
    spot = config(purchase="spot")
    warning = "AWS may take a spot instance back with two minutes' notice"
    [first] = machine_notices(None, spot, [])
    assert first.startswith(warning)
    assert machine_notices(config(), spot, []) == (
        first,
        "Bought in another way it is another instance, for the way back as well: that takes --allow-replace, too.",
    )
    assert machine_notices(spot, config(), [])[0].startswith("Bought in another way"), "nobody takes that one back"
    assert machine_notices(spot, spot, []) == ()
    [typed] = machine_notices(spot, config(purchase="spot", instance_type="t3.xlarge"), [])
    assert typed.startswith("EC2 does not change the type of a spot instance")
