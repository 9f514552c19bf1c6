"""Runs one function on the system by firecrest-executor, and prints the result.

    python -m tests.clients.executor_call < site.json

The input has the fields of `Site`.
"""

import json
import sys

from firecrest_executor import FirecrestExecutor

from tests.clients.pyfirecrest_run import Site


def main() -> None:
    """Run as a program."""
    site = Site(**json.load(sys.stdin))
    environment = {
        "FIRECREST_URL": site.url,
        "AUTH_TOKEN_URL": site.token_url,
        "FIRECREST_CLIENT_ID": site.client_id,
        "FIRECREST_CLIENT_SECRET": site.client_secret,
        "FIRECREST_SYSTEM": site.system,
        "FIRECREST_ACCOUNT": site.account,
    }
    with FirecrestExecutor(
        site.directory,
        ["--job-name=executor"],
        ["--ntasks=1"],
        sleep_interval=1,
        task_retries=0,
        env=environment,
    ) as executor:
        future = executor.submit(pow, 2, 5)
        error = future.exception()
        print(
            json.dumps(
                {"error": error and str(error), "result": None if error else future.result()}
            )
        )


if __name__ == "__main__":
    main()
