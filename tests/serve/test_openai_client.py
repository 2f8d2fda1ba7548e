"""The built-in server under the suite that vLLM has to pass too (client_suite.py)."""

import pytest

from serve.client_suite import *  # noqa: F403
from serve.client_suite import Server
from serve.servers import CONTEXT, serving


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield Server(running.url, "tiny", CONTEXT)
