"""Where a server is published and asked: names, IPv4 and IPv6."""

import shlex

import pytest

from danlu.serve.vllm.plan import Wish, plan
from danlu.vllm_start import how_to_talk
from serve.vllm.exports import export, option

pytestmark = pytest.mark.usefixtures("bare")


@pytest.mark.parametrize(
    ("host", "published", "url"),
    [
        ("127.0.0.1", "127.0.0.1:8100:8100", "http://127.0.0.1:8100"),
        ("localhost", "127.0.0.1:8100:8100", "http://127.0.0.1:8100"),
        ("::1", "[::1]:8100:8100", "http://[::1]:8100"),
        ("0.0.0.0", "0.0.0.0:8100:8100", "http://127.0.0.1:8100"),
        ("::", "[::]:8100:8100", "http://[::1]:8100"),
        ("0::0", "[::]:8100:8100", "http://[::1]:8100"),
        ("fd00::5", "[fd00::5]:8100:8100", "http://[fd00::5]:8100"),
    ],
)
def test_a_container_s_port_and_the_url_are_written_for_any_address(tmp_path, host, published, url):
    folder = str(export(tmp_path / "x-hf"))
    made = plan(Wish(folder, host=host, port=8100, insecure=True, runtime="docker"))
    assert option(made.command, "--publish") == published
    assert made.url == url
    assert shlex.split(how_to_talk(made).splitlines()[1])[1] == f"{url}/v1/chat/completions"
    here = plan(Wish(folder, host=host, port=8100, insecure=True))
    assert here.url == url and option(here.command, "--host") == host


def test_the_line_to_paste_quotes_what_a_shell_would_read_as_a_pattern(tmp_path):
    made = plan(Wish(str(export(tmp_path / "x-hf")), host="::1"))
    assert "curl 'http://[::1]:8000/v1/chat/completions' -H" in how_to_talk(made)
