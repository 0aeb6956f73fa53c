"""What the dashboards for Grafana show."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# Where Prometheus has no namespaces, as with docker compose, "All" finds what has none.
OURS = 'namespace=~"$namespace"'
VERSION = f'{OURS}, model=~"$model"'
FAILED = 'status=~"data_loss|deadline_exceeded|internal|resource_exhausted|unavailable|unknown"'
RATE = "[$__rate_interval]"


class Panel(NamedTuple):
    """A graph over time.

    Attributes:
        title: What is seen.
        unit: As Grafana names it.
        queries: Each with the name of its lines, in which {{label}} is the value of a label.
        meaning: What is to be known to read it.
    """

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    meaning: str = ""


class Dashboard(NamedTuple):
    """One page.

    Attributes:
        name: Of its file, and in its address.
        title: For people.
        variables: What can be chosen, by name, with the query for its values.
        panels: From the left, from above.
    """

    name: str
    title: str
    variables: dict[str, str]
    panels: Sequence[Panel]


def quantile(share: float, histogram: str, by: str, selector: str = OURS) -> str:
    """A quantile of a histogram, by labels."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{{{selector}}}{RATE})))"


def mean(histogram: str, by: str, selector: str = OURS) -> str:
    """The mean of a histogram, by labels."""
    total, count = (f"sum by ({by}) (rate({histogram}_{part}{{{selector}}}{RATE}))" for part in ("sum", "count"))
    return f"{total} / {count}"


def rate(counter: str, by: str, selector: str = OURS) -> str:
    """How fast a counter grows, by labels."""
    return f"sum by ({by}) (rate({counter}{{{selector}}}{RATE}))"


def share(counter: str, part: str, by: str, selector: str = OURS) -> str:
    """The part of a counter that a selector finds, by labels."""
    return f"{rate(counter, by, f'{selector}, {part}')} / {rate(counter, by, selector)}"


REQUESTS = "object_detection_requests_total"
REQUEST_S = "object_detection_request_duration_seconds"
INFERENCE_S = "object_detection_inference_duration_seconds"
STAGE_S = "object_detection_stage_duration_seconds"
FRAMES = "object_detection_stream_frames_total"
FRAME_AGE_S = "object_detection_stream_frame_age_seconds"
SHADOW = "object_detection_shadow"
AT_GATEWAY = f'{OURS}, envoy_http_conn_manager_prefix="gateway"'
BY_CLUSTER, CLUSTER = "envoy_cluster_name", "{{envoy_cluster_name}}"
BY_VERSION, NAMED = "model, version", "{{model}} {{version}}"

NAMESPACE = {"namespace": "label_values(object_detection_queue_depth, namespace)"}
MODEL = NAMESPACE | {"model": f"label_values({REQUESTS}, model)"}

DASHBOARDS = (
    Dashboard(
        "overview",
        "Detector: overview",
        MODEL,
        (
            Panel("Requests", "reqps", [(rate(REQUESTS, BY_VERSION, VERSION), NAMED)]),
            Panel(
                "Requests that fail",
                "percentunit",
                [(share(REQUESTS, FAILED, BY_VERSION, VERSION), NAMED)],
                "What the service owes; refused because of overload among it. What callers are to blame for is not.",
            ),
            Panel(
                "Latency",
                "s",
                [(quantile(each, REQUEST_S, "", VERSION), f"p{each * 100:g}") for each in (0.5, 0.95, 0.99)],
            ),
            Panel("Latency, p95", "s", [(quantile(0.95, REQUEST_S, BY_VERSION, VERSION), NAMED)]),
            Panel("Where the time goes", "s", [(mean(STAGE_S, "stage"), "{{stage}}")]),
            Panel("Waiting pictures", "short", [(f"sum(object_detection_queue_depth{{{OURS}}})", "pictures")]),
            Panel("Refused or given up", "short", [(rate("object_detection_shed_total", "reason"), "{{reason}}")]),
            Panel(
                "Servers with the version ready",
                "short",
                [
                    (
                        f"count by ({BY_VERSION}, provider) (object_detection_execution_provider{{{VERSION}}})",
                        NAMED + " {{provider}}",
                    )
                ],
            ),
            Panel(
                "Failed in 3 days, of the 0.1 % that may",
                "percentunit",
                [("namespace:object_detection_requests_failed:ratio_rate3d / 0.001", "{{namespace}}")],
                "100 %: a month like these days would use up what 99.9 % allow.",
            ),
            Panel(
                "Alerts", "short", [('count by (alertname, severity) (ALERTS{alertstate="firing"})', "{{alertname}}")]
            ),
        ),
    ),
    Dashboard(
        "versions",
        "Detector: v1 against v2",
        MODEL,
        (
            Panel(
                "Share of the requests",
                "percentunit",
                [
                    (
                        (
                            f"{rate(REQUESTS, BY_VERSION, VERSION)} "
                            f"/ on (model) group_left () {rate(REQUESTS, 'model', VERSION)}"
                        ),
                        NAMED,
                    )
                ],
            ),
            Panel("Requests that fail", "percentunit", [(share(REQUESTS, FAILED, BY_VERSION, VERSION), NAMED)]),
            Panel("Latency, p50", "s", [(quantile(0.5, REQUEST_S, BY_VERSION, VERSION), NAMED)]),
            Panel("Latency, p95", "s", [(quantile(0.95, REQUEST_S, BY_VERSION, VERSION), NAMED)]),
            Panel("Time of the model, mean", "s", [(mean(INFERENCE_S, BY_VERSION, VERSION), NAMED)]),
            Panel("Time of the model, p95", "s", [(quantile(0.95, INFERENCE_S, BY_VERSION, VERSION), NAMED)]),
            Panel(
                "Copied pictures with the same boxes",
                "percentunit",
                [
                    (
                        share(f"{SHADOW}_pictures_total", 'same="true"', "model, version, shadow", VERSION),
                        "{{model}} {{version}} and {{shadow}}",
                    )
                ],
                "Of the calls of which another version got copies (traffic.shadow).",
            ),
            Panel(
                "Boxes of copied pictures",
                "short",
                [
                    (
                        rate(f"{SHADOW}_boxes_total", "version, shadow, outcome", VERSION),
                        "{{version}} and {{shadow}}: {{outcome}}",
                    )
                ],
            ),
            Panel(
                "Copies",
                "short",
                [(rate(f"{SHADOW}_copies_total", "version, shadow, outcome", VERSION), "to {{shadow}}: {{outcome}}")],
            ),
            Panel("Uncertain pictures", "short", [(rate("active_learning_samples_total", BY_VERSION, VERSION), NAMED)]),
        ),
    ),
    Dashboard(
        "drift",
        "Detector: drift",
        MODEL,
        (
            Panel(
                "State",
                "short",
                [(f"data_drift_state{{{VERSION}}} == 1", NAMED + " {{state}}")],
                "learning, stable, suspicious or drifted, for each version.",
            ),
            Panel(
                "Called drifted",
                "short",
                [(f"sum by ({BY_VERSION}) (increase(data_drift_detected_total{{{VERSION}}}[1h]))", NAMED)],
            ),
            Panel(
                "Distance to the reference",
                "short",
                [(f"data_drift_feature_ratio{{{VERSION}}}", NAMED + " {{feature}}")],
                "In parts of what is allowed: above 1, evidence adds up.",
            ),
            Panel(
                "Evidence",
                "short",
                [(f"data_drift_feature_evidence{{{VERSION}}}", NAMED + " {{feature}}")],
                "1 is drift.",
            ),
            Panel("Streams by state", "short", [(f"data_drift_groups{{{VERSION}}}", NAMED + " {{state}}")]),
            Panel(
                "Observations",
                "short",
                [
                    (
                        rate("object_detection_drift_observations_total", "model, version, outcome", VERSION),
                        NAMED + " {{outcome}}",
                    )
                ],
            ),
            Panel(
                "Observations that did not count",
                "short",
                [(rate("data_drift_observations_lost_total", "reason"), "{{reason}}")],
            ),
            Panel("On disk", "bool", [(f"data_drift_stored{{{OURS}}}", "{{instance}}")]),
        ),
    ),
    Dashboard(
        "active-learning",
        "Detector: active learning",
        MODEL,
        (
            Panel("Kept for people", "short", [(rate("active_learning_samples_total", BY_VERSION, VERSION), NAMED)]),
            Panel(
                "What became of uncertain pictures",
                "short",
                [(rate("active_learning_pictures_total", "outcome", VERSION), "{{outcome}}")],
            ),
            Panel("Brought to the sink", "short", [(rate("active_learning_uploads_total", "outcome"), "{{outcome}}")]),
            Panel("Waiting", "short", [(f"sum(active_learning_spool_samples{{{OURS}}})", "samples")]),
            Panel("Bytes that wait", "bytes", [(f"sum(active_learning_spool_bytes{{{OURS}}})", "bytes")]),
            Panel("The oldest has waited", "s", [(f"max(active_learning_spool_age_seconds{{{OURS}}})", "oldest")]),
            Panel("Lost", "short", [(rate("active_learning_spool_lost_total", "reason"), "{{reason}}")]),
            Panel("Faults", "short", [(rate("active_learning_faults_total", "fault"), "{{fault}}")]),
        ),
    ),
    Dashboard(
        "streams",
        "Detector: streams",
        MODEL,
        (
            Panel(
                "Open streams", "short", [(f"sum by (instance) (object_detection_streams{{{OURS}}})", "{{instance}}")]
            ),
            Panel("Frames", "short", [(rate(FRAMES, "outcome", VERSION), "{{outcome}}")]),
            Panel(
                "Frames with boxes",
                "percentunit",
                [(share(FRAMES, 'outcome="detected"', BY_VERSION, VERSION), NAMED)],
                "Live streams drop what comes faster than it can be looked at: superseded.",
            ),
            Panel(
                "Age of frames when they are looked at",
                "s",
                [(quantile(each, FRAME_AGE_S, "", VERSION), f"p{each * 100:g}") for each in (0.5, 0.95, 0.99)],
            ),
            Panel("Age of frames, p95", "s", [(quantile(0.95, FRAME_AGE_S, BY_VERSION, VERSION), NAMED)]),
            Panel(
                "Refused streams",
                "short",
                [
                    (
                        rate("object_detection_shed_total", "instance", f'{OURS}, reason="too_many_streams"'),
                        "{{instance}}",
                    )
                ],
            ),
        ),
    ),
    Dashboard(
        "gateway",
        "Detector: gateway",
        NAMESPACE,
        (
            Panel(
                "Answers",
                "reqps",
                [
                    (
                        rate("envoy_http_downstream_rq_xx", "envoy_response_code_class", AT_GATEWAY),
                        "{{envoy_response_code_class}}xx",
                    )
                ],
                "By class of the HTTP status. Errors of gRPC have the status 200.",
            ),
            Panel(
                "Calls and streams under way",
                "short",
                [(f"sum(envoy_http_downstream_rq_active{{{AT_GATEWAY}}})", "calls and streams")],
            ),
            Panel(
                "Healthy servers",
                "short",
                [(f"max by ({BY_CLUSTER}) (envoy_cluster_membership_healthy{{{OURS}}})", CLUSTER)],
                "As the gateway that finds most of them sees it, by cluster: one for each version.",
            ),
            Panel(
                "Calls that find no healthy server",
                "reqps",
                [(rate("envoy_cluster_upstream_cx_none_healthy", BY_CLUSTER), CLUSTER)],
            ),
            Panel("Connections", "short", [(f"sum(envoy_http_downstream_cx_active{{{AT_GATEWAY}}})", "of callers")]),
            Panel(
                "Memory, of what Envoy may take",
                "percentunit",
                [(f"max(envoy_overload_envoy_resource_monitors_fixed_heap_pressure{{{OURS}}}) / 100", "most")],
                "Near 100 % the largest calls are reset, then new ones refused.",
            ),
        ),
    ),
    Dashboard(
        "resources",
        "Detector: resources",
        NAMESPACE,
        (
            Panel(
                "Processors",
                "short",
                [(rate("process_cpu_seconds_total", "job, instance", f'{OURS}, job!="prometheus"'), "{{instance}}")],
            ),
            Panel(
                "Memory",
                "bytes",
                [(f'process_resident_memory_bytes{{{OURS}, job!="prometheus"}}', "{{instance}}")],
            ),
            Panel(
                "Files and connections", "short", [(f'process_open_fds{{{OURS}, job!="prometheus"}}', "{{instance}}")]
            ),
            Panel(
                "Pictures wait for a worker, p90",
                "s",
                [(quantile(0.9, STAGE_S, "instance", f'{OURS}, stage="queue"'), "{{instance}}")],
            ),
            Panel(
                "GPUs",
                "percent",
                [("avg by (Hostname, gpu) (DCGM_FI_DEV_GPU_UTIL)", "{{Hostname}} {{gpu}}")],
                "As NVIDIA's DCGM exporter tells it, where there is one.",
            ),
            Panel(
                "Memory of GPUs",
                "decmbytes",
                [("avg by (Hostname, gpu) (DCGM_FI_DEV_FB_USED)", "{{Hostname}} {{gpu}}")],
            ),
            Panel(
                "Held back by the limit of processors",
                "percentunit",
                [
                    (
                        (
                            f"sum by (pod) (rate(container_cpu_cfs_throttled_periods_total{{{OURS}}}{RATE})) "
                            f"/ sum by (pod) (rate(container_cpu_cfs_periods_total{{{OURS}}}{RATE}))"
                        ),
                        "{{pod}}",
                    )
                ],
                "As cAdvisor tells it, in Kubernetes.",
            ),
            Panel(
                "Pods that were started again",
                "short",
                [(f"sum by (pod) (increase(kube_pod_container_status_restarts_total{{{OURS}}}[1h]))", "{{pod}}")],
                "As kube-state-metrics tells it.",
            ),
        ),
    ),
)
