"""Amazon Bedrock: model invocation logs, JSON lines as they stand under AWSLogs/.../BedrockModelInvocationLogs/.

Token counts are exclusive: `inputTokenCount` has no cache reads and writes. The lifetime of a cache write is only in the
body of the answer, of which nothing but those counts and a latency are read; without a body every write is one of five
minutes. Reranking logs no usage, and no call has a cost.

Who called is an IAM principal, whatever the session; who pays may also be an application inference profile, or the AWS
account: `belongs` in teams.yaml names them (principal, inference_profile, provider_project). What model a profile
stands for is not in the log: `fields: {model: {column: modelId, map: {arn:...: anthropic.claude-...}}}` says it.
"""

from __future__ import annotations

from pipelines.sources.gateway.declared import Log, context

BODY = "output.outputBodyJson"
CREATION = (f"$.{BODY}[0].message.usage.cache_creation", f"{BODY}.usage.cache_creation")  # streamed: in the first event; whole

FORMAT = Log(
    name="bedrock",
    inclusive=False,
    texts={
        **context("requestMetadata"),
        "event_id": "requestId",
        "account": "accountId",
        "occurred_at": "timestamp",
        "principal": "identity.arn",
        "inference_profile": "modelId",
        "model_as_logged": "modelId",
        "region": "region",
        "call": "operation",
        "error": "errorCode",
        "latency_ms": f"{BODY}.metrics.latencyMs",
        "input_tokens": "input.inputTokenCount",
        "cache_read_tokens": "input.cacheReadInputTokenCount",
        "cache_written": "input.cacheWriteInputTokenCount",
        "cache_write_5m_tokens": tuple(f"{place}.ephemeral_5m_input_tokens" for place in CREATION),
        "cache_write_1h_tokens": tuple(f"{place}.ephemeral_1h_input_tokens" for place in CREATION),
        "output_tokens": "output.outputTokenCount",
    },
    made={
        "event_id": "concat_ws('/', account, region, event_id)",
        "sub_account_id": "account",
        "provider": "'aws'",
        "inference_profile": "case when contains(inference_profile, ':application-inference-profile/') then inference_profile end",
        "model_as_logged": "regexp_replace(model_as_logged, '^arn:.*:(foundation-model|inference-profile)/', '')",
        "operation": "case when contains(lower(model_as_logged), 'embed') then 'embedding'"
        " when contains(lower(model_as_logged), 'rerank') then 'rerank'"
        " when regexp_matches(lower(model_as_logged), 'canvas|stability|stable-|titan-image') then 'image'"
        " when call = 'InvokeModel' and error is null and input_tokens is not null and output_tokens is null then 'embedding'"
        " else 'chat' end",
        "request_type": "coalesce(request_type, case when regexp_matches(call, 'Batch|InvocationJob') then 'batch' end)",
        "service_tier": "case when regexp_matches(call, 'Batch|InvocationJob') then 'batch' end",
        "status": "if(error is null, 'success', 'failure')",
        "cache_write_5m_tokens": "coalesce(less(cache_written, cache_write_1h_tokens), cache_write_5m_tokens)",
    },
    refuse={
        "missing_event_id": "event_id is null",
        "tokens_not_disjoint": "cache_written is not null and count_of(cache_write_1h_tokens) > count_of(cache_written)",
    },
).format()
