"""Configuration mistakes stop the service at start, and say where and what."""

from pathlib import Path

import pytest

from passerelle.runtime.config import ConfigError, Section, load, section, site_model

GOOD = """
systems:
  - name: daint
    ssh: {host: login.example.org, host_keys: ["ssh-ed25519 AAAA"]}
    scheduler: {type: slurm}
    filesystems: [{path: /home/, data_type: users}]
services:
  secret: env:PASSERELLE_TEST_SECRET
"""


def test_a_good_file_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSERELLE_TEST_SECRET", "from the environment")
    (tmp_path / "site.yaml").write_text(GOOD)
    site = load(tmp_path / "site.yaml")
    system = site.system("daint")
    assert system is not None
    assert system.filesystems[0].path == "/home"
    assert site.services.secret is not None
    assert site.services.secret.get_secret_value() == "from the environment"
    assert "from the environment" not in repr(site)
    assert site.system("dom") is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            GOOD.replace("scheduler:", "schedular:"),
            r"site.yaml:5: systems.0.schedular: unknown key",
        ),
        (GOOD.replace("host: login.example.org, ", ""), r"systems.0.ssh.host: Field required"),
        (GOOD.replace("name: daint", "name: Daint"), r"site.yaml:3: systems.0.name"),
        (GOOD.replace("/home/", "home"), r"must be absolute"),
        (GOOD + "\nstorige: {}\n", r"storige: unknown key"),
        (GOOD + "\n  auth_cache: 3600\n", r"site.yaml:\d+: services.auth_cache"),
        (
            GOOD.replace("env:PASSERELLE_TEST_SECRET", "env:NO_SUCH_VARIABLE"),
            r"NO_SUCH_VARIABLE is not set",
        ),
        (GOOD.replace("env:PASSERELLE_TEST_SECRET", "secret_file:/no/such"), r"/no/such"),
        ("systems: [", r"not valid YAML"),
        ("- 1", r"site.yaml:1"),
    ],
)
def test_a_mistake_is_named_with_its_line(wrong: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        site_model().parse(wrong, "site.yaml")


def test_two_systems_of_one_name_are_refused() -> None:
    one = "  - {name: a, ssh: {host: h}, scheduler: {type: local}}\n"
    with pytest.raises(ConfigError, match="same name"):
        site_model().parse(f"systems:\n{one}{one}")


def test_a_secret_in_the_file_is_not_printed_with_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        site_model().parse("services: {secret: hunter2, auth_cache: hunter2}")
    assert "hunter2" not in str(caught.value)


def test_every_key_is_described() -> None:
    undescribed = sorted(_undescribed(site_model(), ""))
    assert not undescribed


def _undescribed(model: type[Section], prefix: str) -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        nested = _models(field.annotation)
        if not field.description and not any(kind.__doc__ for kind in nested):
            found.add(prefix + name)
        for kind in nested:
            found |= _undescribed(kind, f"{prefix}{name}.")
    return found


def _models(annotation: object) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [kind for part in getattr(annotation, "__args__", ()) for kind in _models(part)]


def test_a_service_finds_its_section() -> None:
    from passerelle.compute.config import ComputeSection

    site = site_model().parse("compute: {cache_seconds: 0}")
    assert section(site, ComputeSection).cache_seconds == 0
