"""What /openapi.json promises is what the server does: requests made up from it, good ones and bad ones."""

import warnings

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serve.plain import asked
from serve.servers import serving

OPERATIONS = [
    "POST /v1/chat/completions",
    "POST /v1/completions",
    "POST /v1/embeddings",
    "POST /tokenize",
    "POST /detokenize",
    "POST /tools/call",
    "GET /v1/models",
    "GET /v1/models/{name}",
    "GET /tools",
    "GET /tools/cases",
    "GET /health",
    "GET /ready",
    "GET /metrics",
]
MODES = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


@pytest.fixture(scope="module")
def described():
    with serving(timeout=120) as running:
        schema = schemathesis.openapi.from_dict(asked(f"{running.url}/openapi.json")[1])
        schema.config.update(base_url=running.url)
        yield schema, running


def operation(schema, label):
    found = {result.ok().label: result.ok() for result in schema.get_all_operations()}
    assert set(found) == set(OPERATIONS)
    return found[label]


def tried(described, label, examples):
    """Send requests as the description allows them and as it does not; every answer must be as it says.

    What no schema can say (roles in order, tokens the model has) may refuse what the description allows.
    """
    schema, running = described
    one = operation(schema, label)
    seen = set()
    for mode in MODES if label.startswith("POST") else MODES[:1]:

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=one.as_strategy(generation_mode=mode))
        def once(case):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answer = case.call(timeout=300)
                case.validate_response(answer, excluded_checks=[positive_data_acceptance])
            assert answer.status_code < 500, answer.text
            seen.add(answer.status_code)

        once()
    assert asked(f"{running.url}/health")[0] == 200
    return seen


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_is_described_is_what_happens(described, label):
    tried(described, label, 4)


@pytest.mark.parametrize(
    "label, body",
    [
        ("POST /v1/completions", {"prompt": "火"}),
        ("POST /v1/chat/completions", {"messages": [{"role": "user", "content": "火"}]}),
    ],
)
def test_a_stream_is_as_described(described, label, body):
    case = operation(described[0], label).Case(
        body=body | {"stream": True, "max_tokens": 3}, media_type="application/json"
    )
    answer = case.call_and_validate(excluded_checks=[positive_data_acceptance])
    assert answer.status_code == 200 and answer.text.endswith("data: [DONE]\n\n")


@pytest.mark.slow
@pytest.mark.parametrize("label", OPERATIONS[:6])
def test_nothing_that_can_be_sent_breaks_the_server(described, label):
    seen = tried(described, label, 150)
    assert 400 in seen
