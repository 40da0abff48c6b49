"""The OpenAPI document says what the service does."""

from app.main import create_app
from app.settings import Settings


def document():
    return create_app(Settings(database_url="postgresql://unused")).openapi()


def test_every_error_is_documented_as_a_problem():
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert "application/problem+json" in response["content"], f"{method} {path} {status}"
                    assert "application/json" not in response["content"], f"{method} {path} {status}"


def test_every_operation_has_a_docstring_for_its_readers():
    for operations in document()["paths"].values():
        assert all(operation["description"] for operation in operations.values())


def test_the_request_schema_states_bounds_and_refuses_unknown_fields():
    training = document()["components"]["schemas"]["TrainingConfig"]
    assert training["additionalProperties"] is False
    assert (
        training["properties"]["batch_size"] | {"minimum": 1, "maximum": 65_536} == training["properties"]["batch_size"]
    )


def test_what_a_webhook_s_receiver_gets_is_documented():
    operation = document()["webhooks"]["benchmark"]["post"]
    (reference,) = operation["requestBody"]["content"]["application/json"]["schema"].values()
    message = document()["components"]["schemas"][reference.rpartition("/")[2]]
    assert set(message["properties"]) == {"type", "timestamp", "data"}
    assert "422" not in operation["responses"]
