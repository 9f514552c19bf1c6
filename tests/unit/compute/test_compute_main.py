"""The compute service put together: what is wrong with a configuration stops it at its start."""

import pytest

from passerelle.compute.main import running
from passerelle.runtime.config.site import ConfigError, SiteBase, site_model


def site(scheduler: str) -> SiteBase:
    return site_model().parse(
        f"""
systems:
  - name: daint
    ssh: {{host: 127.0.0.1, port: 1}}
    scheduler: {scheduler}
services:
  auth: {{address: "127.0.0.1:1"}}
  compute: {{address: "127.0.0.1:0"}}
  secret: {"s" * 32}
"""
    )


async def test_it_serves_without_asking_anyone() -> None:
    async with running(site("{type: slurm, options: {history_cache_seconds: 5}}")) as port:
        assert port > 0


async def test_a_scheduler_that_is_not_installed() -> None:
    with pytest.raises(ConfigError, match=r"no plugin 'pbsx'.*installed: .*slurm"):
        async with running(site("{type: pbsx}")):
            pass


@pytest.mark.parametrize("options", ["{histroy: 5}", "{history_cache_seconds: -1}"])
async def test_an_option_that_the_scheduler_does_not_have(options: str) -> None:
    with pytest.raises(ConfigError, match="hist"):
        async with running(site(f"{{type: slurm, options: {options}}}")):
            pass
