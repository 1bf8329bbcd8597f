"""Azure API Management: rows of `ApiManagementGatewayLlmLog` as JSON lines, joined to `ApiManagementGatewayLogs`.

One request has several rows with one CorrelationId: that with SequenceNumber 0 has the counts, the others are parts of
its messages and are rejected by that name. Who called, how it ended and how long it took stand in the other table; no
later file can add them to an event, so they come joined, in one export:

    ApiManagementGatewayLlmLog | where SequenceNumber == 0 | project-away RequestMessages, ResponseMessages
    | join kind=leftouter ApiManagementGatewayLogs on CorrelationId

A diagnostic setting writes the same rows with the columns in `properties`, their names in camel case, as an object or as the text of
one, and without the join. Without the join an event has no subscription, and so no owner, and counts as a success. Rows of the other table alone
are no calls of a model. Token counts are inclusive; cached and reasoning tokens are not told apart, and there is no cost.
"""

from __future__ import annotations

from pipelines.sources.gateway.declared import Call, Log


def _places(*names: str) -> tuple[str, ...]:
    """A column of the table, or what a diagnostic setting writes of it."""
    wrapped = (f"properties.{name}" for column in names for name in (column, column[0].lower() + column[1:]))
    return (*names, *wrapped)


FORMAT = Log(
    name="azure_apim",
    inclusive=True,
    texts={
        "event_id": (*_places("CorrelationId"), "correlationId"),
        "occurred_at": (*_places("TimeGenerated"), "time"),
        "gateway_team": _places("ApimSubscriptionId"),
        "api_key_id": _places("ApimSubscriptionId"),
        "model_as_logged": _places("ModelName", "DeploymentName"),
        "region": (*_places("Region"), "location"),
        "operation": (*_places("OperationName"), "operationName"),
        "status": _places("ResponseCode"),
        "gateway_cache": _places("Cache"),
        "latency_ms": _places("TotalTime"),
        "input_tokens": _places("PromptTokens"),
        "output_tokens": _places("CompletionTokens"),
        "total": _places("TotalTokens"),
        "sequence": _places("SequenceNumber"),
    },
    opened=("properties",),
    made={
        "provider": "'azure'",
        "operation": "operation_of(operation)",
        "status": "http_outcome(status)",
        "latency_ms": "case when not starts_with(latency_ms, '-') then latency_ms end",
    },
    calls=(Call(when="coalesce(input_tokens, output_tokens, sequence) is not null"),),
    refuse={
        "message_part": "count_of(sequence) > 0",
        "tokens_not_disjoint": "whole_number(total) and count_of(total) <> added(input_tokens, output_tokens)",
    },
).format()
