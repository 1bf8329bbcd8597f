"""Azure API Management: rows of `ApiManagementGatewayLlmLog` as JSON lines, joined to `ApiManagementGatewayLogs`.

One request has several rows with one CorrelationId: that with SequenceNumber 0 has the counts, the others are parts of
its messages and are rejected by that name. Who called, how it ended and how long it took stand in the other table; no
later file can add them to an event, so they come joined, in one export:

    ApiManagementGatewayLlmLog | where SequenceNumber == 0 | project-away RequestMessages, ResponseMessages
    | join kind=leftouter ApiManagementGatewayLogs on CorrelationId

Without the join an event has no subscription, and so no owner, and counts as a success. Rows of the other table alone
are no calls of a model. Token counts are inclusive; cached and reasoning tokens are not told apart, and there is no cost.
"""

from __future__ import annotations

from pipelines.sources.gateway.declared import Call, Log

FORMAT = Log(
    name="azure_apim",
    inclusive=True,
    texts={
        "event_id": "CorrelationId",
        "occurred_at": "TimeGenerated",
        "gateway_team": "ApimSubscriptionId",
        "api_key_id": "ApimSubscriptionId",
        "model_as_logged": ("ModelName", "DeploymentName"),
        "region": "Region",
        "operation": "OperationName",
        "status": "ResponseCode",
        "gateway_cache": "Cache",
        "latency_ms": "TotalTime",
        "input_tokens": "PromptTokens",
        "output_tokens": "CompletionTokens",
        "total": "TotalTokens",
        "sequence": "SequenceNumber",
    },
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
