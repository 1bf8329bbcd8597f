"""GPU usage from Prometheus, OpenCost, model servers and field maps: what the truth says comes back, and nothing else counts."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from pipelines import landing, warehouse
from pipelines.content import MAX_DOCUMENT, inspect
from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.sample import Truth
from pipelines.sources import GPU_USAGE, Delivery, registry
from pipelines.sources.gpu.mapped_gpu import map_problems

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "gpu"
TRUTH = Truth.make(scale=0.02)
DAY = datetime(2026, 10, 1)
MIDNIGHT = int(DAY.replace(tzinfo=UTC).timestamp())
H100 = {"UUID": "GPU-1", "gpu": "0", "modelName": "NVIDIA H100 80GB HBM3", "Hostname": "n1"}
Found = dict[str, Any]


def read(name: str, tmp_path: Path, data: bytes | str, called: str = "a.json", **source: Any) -> list[Found]:
    path = tmp_path / called
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    with duckdb.connect() as con:
        con.execute("set timezone = 'Asia/Tokyo'")
        registry.find(name).read(con, Delivery("id", "gpu", "cluster", (path,), 0, 0), SimpleNamespace(cluster="c1", **source))
        found = con.execute("select * from parsed order by source_row")
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        types = dict(con.execute("select column_name, column_type from (describe parsed)").fetchall())
    assert types == {**GPU_USAGE, "source_row": "BIGINT", "reject": "VARCHAR"}
    assert len({row["source_row"] for row in rows}) == len(rows)
    for row in good(rows):
        assert row["event_id"] and row["interval_start"] <= row["interval_end"] and row["cluster"] == "c1"
        assert 0 <= row["held_seconds"] <= (row["interval_end"] - row["interval_start"]).total_seconds()
        assert row["active_seconds"] is None or 0 <= row["active_seconds"] <= row["held_seconds"]
    assert len({row["event_id"] for row in good(rows)}) == len(good(rows))
    return rows


def good(rows: list[Found]) -> list[Found]:
    return [row for row in rows if row["reject"] is None]


def rejects(rows: list[Found]) -> Counter[str]:
    return Counter(row["reject"] for row in rows if row["reject"])


def gpu_seconds(rows: list[Found]) -> dict[tuple[Any, ...], Decimal]:
    """Whole-card seconds per holder and UTC day, an interval that crosses midnight cut there (it is held all through)."""
    total: dict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
    for row in good(rows):
        share = Decimal(row["gpus"] * (row["slice_num"] or 1)) / (row["slice_den"] or 1)
        start, end = row["interval_start"], row["interval_end"]
        if start.date() == (end - timedelta(microseconds=1)).date():
            total[row["holder_id"], start.date()] += row["held_seconds"] * share
            continue
        assert row["held_seconds"] == (end - start).total_seconds()
        while start < end:
            stop = min(end, datetime.combine(start.date() + timedelta(days=1), datetime.min.time()))
            total[row["holder_id"], start.date()] += int((stop - start).total_seconds()) * share
            start = stop
    return dict(total)


def series(name: str, values: list[Any], first: int = MIDNIGHT, step: int = 60, **labels: str) -> Found:
    """One value per step; None is a gap."""
    metric = {"__name__": name, **labels}
    return {"metric": metric, "values": [[first + n * step, str(value)] for n, value in enumerate(values) if value is not None]}


def answer(*result: Any) -> str:
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": list(result)}})


def active(values: list[Any], **labels: str) -> Found:
    labels = {**H100, **labels}
    return series("DCGM_FI_PROF_GR_ENGINE_ACTIVE", values, **labels)


def pod_days(days: int) -> dict[tuple[Any, ...], int]:
    """The model server's pods of the sample company: seconds of their cards per day."""
    wanted: Counter[tuple[Any, ...]] = Counter()
    for n in range(days):
        for _, pod, _ in TRUTH.serving.pods:
            wanted[pod, (DAY + timedelta(days=n)).date()] += 86_400
    return dict(wanted)


# --- dcgm-exporter -----------------------------------------------------------------------------------------------


def company_cards(first: int, steps: int, step: int = 300) -> str:
    held = {card: (namespace, pod) for namespace, pod, card in TRUTH.serving.pods}
    cards = [*held, *(f"GPU-idle-{n}" for n in range(TRUTH.serving.cards - len(held)))]
    return answer(
        *(
            series("DCGM_FI_PROF_GR_ENGINE_ACTIVE", [0.25] * steps, first, step, UUID=card, modelName=TRUTH.serving.gpu_model,
                   hostname=TRUTH.serving.node, namespace=held.get(card, ("", ""))[0], pod=held.get(card, ("", ""))[1])
            for card in cards
        )
    )  # fmt: skip


def test_cards_of_the_sample_company_are_read_back_from_dcgm(tmp_path: Path) -> None:
    rows = read("dcgm", tmp_path, company_cards(MIDNIGHT, 2 * 288 + 1))  # both ends, as query_range answers
    found = gpu_seconds(rows)
    idle = {key: found.pop(key) for key in list(found) if key[0] is None}
    assert found == pod_days(2) and not rejects(rows)
    assert idle == {(None, (DAY + timedelta(days=n)).date()): 2 * 86_400 for n in range(2)}
    assert {(row["holder_kind"], row["namespace"]) for row in rows} == {("pod", "vllm-prod"), ("none", None)}
    assert {(row["held_seconds"], row["active_seconds"], row["gpu_model"], row["node"]) for row in rows} == {(3600, 900, "H100", "serving-1")}
    assert len(rows) == 8 * 48


@pytest.mark.parametrize("cut", [100, 144, 149, 150])  # steps of five minutes: within an hour, and on one
@pytest.mark.parametrize("share_ends", [0, 1])
def test_answers_that_follow_each_other_add_up_whatever_their_order(tmp_path: Path, cut: int, share_ends: int) -> None:
    first = read("dcgm", tmp_path, company_cards(MIDNIGHT, cut + share_ends))
    second = read("dcgm", tmp_path, company_cards(MIDNIGHT + cut * 300, 288 - cut + 1))
    shared_step = share_ends and cut % 12  # the last sample of the first answer stands for five minutes that the second tells again
    for order in ((first, second), (second, first)):
        merged = {row["event_id"]: row for rows in order for row in rows}
        found = gpu_seconds(list(merged.values()))
        wanted = {key: seconds + (300 * seconds // 86_400 if shared_step else 0) for key, seconds in pod_days(1).items()}
        assert {key: value for key, value in found.items() if key[0]} == wanted


def test_a_longer_answer_replaces_what_a_shorter_one_said(tmp_path: Path) -> None:
    short = read("dcgm", tmp_path, company_cards(MIDNIGHT, 20))
    longer = read("dcgm", tmp_path, company_cards(MIDNIGHT, 40))
    assert {row["event_id"] for row in short} < {row["event_id"] for row in longer}
    assert max(row["held_seconds"] for row in short if row["interval_start"].hour == 1) == 8 * 300


def test_a_pod_ends_with_the_scrape_that_does_not_show_it(tmp_path: Path) -> None:
    rows = read("dcgm", tmp_path, answer(
        active([0.5] * 10, pod="a", namespace="x"),
        active([None] * 10 + [0] * 5, pod=""),
        active([None] * 15 + ["0.123456789"] * 5, pod="b", namespace="x"),
    ))  # fmt: skip
    assert [(row["holder_id"], row["held_seconds"], row["active_seconds"]) for row in rows] == [("a", 600, 300), (None, 300, 0), ("b", 300, 37)]
    assert [row["interval_end"] - row["interval_start"] for row in rows] == [timedelta(minutes=m) for m in (10, 5, 5)]


def test_gaps_are_bridged_for_three_steps_and_no_more(tmp_path: Path) -> None:
    blank = 2**63 - 14
    (row,) = read("dcgm", tmp_path, answer(active([1, "NaN", blank, 1, None, None, None, None, None, 1], pod="a")))
    assert row["held_seconds"] == (3 + 3 + 1) * 60 and row["active_seconds"] == row["held_seconds"]
    assert row["interval_end"] - row["interval_start"] == timedelta(minutes=10)


def test_activity_is_a_ratio_or_a_percentage_or_unknown(tmp_path: Path) -> None:
    percent = series("DCGM_FI_DEV_GPU_UTIL", [50] * 10, **H100, pod="a")
    memory = series("DCGM_FI_DEV_FB_USED", [81_000] * 10, **H100, pod="a")
    for found, seconds in (((percent, memory), 300), ((active([0.1] * 10, pod="a"), percent), 60), ((memory,), None)):
        (row,) = read("dcgm", tmp_path, answer(*found))
        assert (row["held_seconds"], row["active_seconds"]) == (600, seconds)
    late = active([None] * 5 + [1] * 5, pod="a")
    known, unknown = sorted(read("dcgm", tmp_path, answer(memory, late)), key=lambda row: row["event_id"])
    assert (known["active_seconds"], known["held_seconds"]) == (300, 300)
    assert (unknown["active_seconds"], unknown["held_seconds"], unknown["event_id"]) == (None, 300, known["event_id"] + "/unmeasured")


def test_a_shared_card_is_divided_and_never_counted_twice(tmp_path: Path) -> None:
    rows = read("dcgm", tmp_path, answer(active([0.5] * 10, pod="a"), active([0.5] * 4, pod="b"), active([0.5] * 10, pod="")))
    assert sum(gpu_seconds(rows).values()) == 600 and not any(row["holder_kind"] == "none" for row in rows)
    assert {(row["holder_id"], row["slice_den"], row["held_seconds"]) for row in rows} == {("a", 2, 240), ("a", 1, 360), ("b", 2, 240)}


def test_slices_stand_instead_of_their_card(tmp_path: Path) -> None:
    def slice_(n: str, profile: str, pod: str) -> Found:
        return active([0] * 10, GPU_I_ID=n, GPU_I_PROFILE=profile, pod=pod)

    rows = read("dcgm", tmp_path, answer(slice_("1", "3g.40gb", "a"), slice_("2", "3g.40gb", ""), slice_("3", "9g.80gb", "b"), active([0] * 10, pod="")))
    assert [(row["holder_id"], row["holder_kind"], row["slice_num"], row["slice_den"]) for row in good(rows)] == [("a", "pod", 3, 7), (None, "none", 3, 7)]
    assert rejects(rows) == {"unknown_mig_profile": 1} and {row["gpu_uuid"] for row in good(rows)} == {"GPU-1"}
    (a30,) = read("dcgm", tmp_path, answer(series("DCGM_FI_DEV_FB_USED", [1] * 5, UUID="GPU-2", GPU_I_ID="1", GPU_I_PROFILE="1g.6gb")))
    assert (a30["slice_num"], a30["slice_den"]) == (1, 4)


@pytest.mark.parametrize(
    ("labels", "holder"),
    [
        ({"pod": "p", "namespace": "x"}, ("pod", "p", "x")),
        ({"pod_name": "p", "pod_namespace": "x"}, ("pod", "p", "x")),
        ({"exported_pod": "p", "exported_namespace": "x", "pod": "exporter-1", "namespace": "monitoring"}, ("pod", "p", "x")),
        ({"exported_pod": "", "exported_namespace": "", "pod": "exporter-1", "namespace": "monitoring"}, ("none", None, None)),
        ({"pod": "exporter-1", "namespace": "monitoring"}, ("none", None, None)),  # known from the other card
        ({"pod": "nvidia-dcgm-exporter-x1", "namespace": "gpu-operator"}, ("none", None, None)),
        ({"pod": "", "namespace": "", "container": ""}, ("none", None, None)),
        ({}, ("none", None, None)),
        ({"hpc_job": "700104_7"}, ("job", "700104_7", None)),
    ],
)
def test_both_generations_of_labels_name_the_holder(tmp_path: Path, labels: dict[str, str], holder: tuple[Any, ...]) -> None:
    beside = active([0] * 5, UUID="GPU-2", exported_pod="q", exported_namespace="y", pod="exporter-1", namespace="monitoring")
    rows = read("dcgm", tmp_path, answer(active([0] * 5, **labels), beside))
    assert [(row["holder_kind"], row["holder_id"], row["namespace"]) for row in rows if row["gpu_uuid"] == "GPU-1"] == [holder]
    (row,) = read("dcgm", tmp_path, answer(series("DCGM_FI_DEV_FB_USED", [1] * 5, UUID="GPU-1", hostname="n2", **labels)))
    assert row["node"] == "n2"


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (active(["1.01"] * 3), "absurd_value"),
        (active(["-0.1"] * 3), "absurd_value"),
        (active(["+Inf"] * 3), "absurd_value"),
        (active(["1e-400000"] * 3), "absurd_value"),
        (active(["many"] * 3), "absurd_value"),
        (series("DCGM_FI_DEV_GPU_UTIL", [101], **H100), "absurd_value"),
        (active(["NaN"] * 3), "no_data"),
        (active([2**63 - 20] * 3), "no_data"),
        (active([]), "no_data"),
        (series("up", [1] * 3), "other_metric"),
        ({"metric": {"UUID": "GPU-1"}, "values": [[MIDNIGHT, "1"]]}, "other_metric"),
        (series("DCGM_FI_DEV_FB_USED", [1] * 3, UUID=""), "no_gpu"),
        ("series", "not_a_series"),
        ({"metric": [], "values": []}, "not_a_series"),
        ({"metric": H100}, "bad_sample"),
        ({"metric": H100, "values": [[MIDNIGHT, None]]}, "bad_sample"),
        ({"metric": H100, "values": [["NaN", "1"]]}, "bad_sample"),
        ({"metric": H100, "values": [[1e300, "1"]]}, "bad_sample"),
        ({"metric": H100, "values": [[-5, "1"]]}, "bad_sample"),
        ({"metric": H100, "values": [[MIDNIGHT, "1"], [MIDNIGHT, "1"]]}, "bad_sample"),
        ({"metric": H100, "values": [[MIDNIGHT, "1", "2"]]}, "bad_sample"),
        ({"metric": H100, "values": [[MIDNIGHT, "\ud800"]]}, "bad_sample"),
        ({"metric": {**H100, "pod": "\ud83d"}, "values": []}, "bad_text"),
        ({"metric": {**H100, "pod": "a\0b"}, "values": []}, "bad_text"),
        ({"metric": {**H100, "pod": None}, "values": []}, "bad_text"),
    ],
)
def test_a_series_that_is_none_is_rejected_alone(tmp_path: Path, item: Any, reason: str) -> None:
    for name in ("dcgm", "k8s_gpu_requests", "vllm"):
        rows = read(name, tmp_path, answer(active([0.5] * 5, UUID="GPU-9", pod="z\u202e'; drop table"), item))
        if name == "dcgm":
            assert [row["holder_id"] for row in good(rows)] == ["z\u202e'; drop table"] and rejects(rows) == {reason: 1}
        else:
            assert len(rejects(rows)) and not good(rows) and sum(rejects(rows).values()) == 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('{"status": "success", "data": {"resultType": "matrix", "resu', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"status": "success", "data": {"resultType": "matrix", "result": [NaN]}}', "not JSON"),
        ("[]", "not a successful answer"),
        ('{"status": "error", "error": "secret"}', "not a successful answer"),
        ('{"status": "success", "data": {"resultType": "vector", "result": []}}', "values of one moment"),
        (answer(active([1])), "one sample of each series"),
        (answer(series("DCGM_FI_DEV_FB_USED", [1, 1, 1], step=7200, **H100)), "a step of 7200 seconds"),
        (b"\xff\xfe{", "not UTF-8"),
    ],
)
@pytest.mark.parametrize("name", ["dcgm", "k8s_gpu_requests", "vllm"])
def test_what_is_no_answer_is_refused_on_one_line(tmp_path: Path, name: str, data: bytes | str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        read(name, tmp_path, data)
    text = str(refused.value)
    if not (name == "vllm" and data == "[]") and not (name == "vllm" and '"error"' in str(data)):
        assert said in text
    assert "\n" not in text and "a.json" in text and "secret" not in text


def test_an_empty_answer_says_nothing(tmp_path: Path) -> None:
    assert all(read(name, tmp_path, answer()) == [] for name in ("dcgm", "k8s_gpu_requests", "vllm"))


def test_damaged_answers_never_crash(tmp_path: Path) -> None:
    rng = random.Random(7)
    whole = answer(active([0.5] * 8, pod="a"), series("kube_pod_container_resource_requests", [1] * 8, node="n", pod="a", resource="nvidia_com_gpu"),
                   series("vllm:prompt_tokens_total", [1, 5, 2], model_name="m"))  # fmt: skip
    for _ in range(12):
        start, length = rng.randrange(len(whole)), rng.randrange(1, 9)
        piece = rng.choice(["", "NaN", "-9e999999", '"\\ud800"', "{", "null", "9" * 60, "\u202e"])
        for name in ("dcgm", "k8s_gpu_requests", "vllm", "opencost"):
            try:
                read(name, tmp_path, whole[:start] + piece + whole[start + length :])
            except Refused as refused:
                assert "\n" not in str(refused)


def test_published_dcgm_excerpts(tmp_path: Path) -> None:
    path = SAMPLES / "dcgm" / "dcgm_exposition_excerpts.prom"
    if not path.exists():
        pytest.skip("no dcgm sample beside the checkout")
    lines = re.findall(r"^(\w+)\{(.*)\} (\S+)$", path.read_text(), re.M)
    result = [series(name, [value] * 3, **dict(re.findall(r'(\w+)="([^"]*)"', labels))) for name, labels, value in lines]
    rows = read("dcgm", tmp_path, answer(*result))
    assert rejects(rows) == {"no_data": 1}
    assert [row["holder_id"] for row in good(rows) if row["holder_kind"] == "pod"] == ["llama70b-0"]
    assert Counter((row["slice_num"], row["slice_den"]) for row in good(rows)) == {(2, 7): 2, (1, 7): 2, (3, 7): 1, (1, 1): 2}


def test_published_query_range(tmp_path: Path) -> None:
    path = SAMPLES / "k8s" / "prometheus_query_range_example.json"
    if not path.exists():
        pytest.skip("no Prometheus sample beside the checkout")
    rows = read("dcgm", tmp_path, path.read_bytes())
    (row,) = good(rows)
    assert (row["holder_id"], row["namespace"], row["node"], row["held_seconds"]) == ("llama70b-0", "serving", "gpu-node-1", 300)
    assert row["active_seconds"] == round(0.41 * 60 + 0.39 * 180 + 0.44 * 60) and rejects(rows) == {"other_metric": 1}
    (row,) = good(read("k8s_gpu_requests", tmp_path, path.read_bytes()))
    assert (row["holder_id"], row["gpus"], row["gpu_uuid"], row["node"]) == ("llama70b-0", 8, None, "gpu-node-1")


class InOrder:
    """The books' memory of arrivals, for a test."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[int, date]] = {}

    def record(self, seen: Any, again: Any = ()) -> None:
        for delivery, *_ in seen:
            self.known.setdefault(delivery, (len(self.known) + 1, DAY.date()))


def test_each_answer_is_a_delivery_and_a_longer_one_replaces_its_hours(tmp_path: Path) -> None:
    home, arrivals = Home(tmp_path), InOrder()
    folder = home.landing / "gpu" / "cards" / "october"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text(company_cards(MIDNIGHT, 145))
    (folder / "2.json").write_text(company_cards(MIDNIGHT + 43_200, 80))  # until it was fetched
    (folder / "3.json").write_text(answer(active(["x"] * 3), active([1] * 3, UUID="GPU-8", pod="a")))
    (folder / "4.json").write_text('{"status": "success"')
    sources = SimpleNamespace(gpu=[SimpleNamespace(name="cards", format="dcgm", cluster="c1")])
    with warehouse.memory() as con:
        report = landing.land(con, home, sources, DAY.date(), arrivals, lambda said: None)
        assert (report.new, report.rejected, [str(r).split(":")[0] for r in report.refused]) == (3, 1, ["gpu/cards/4.json line 1"])
        assert con.execute("select source_row, reason, byte_offset from quarantine").fetchall() == [(1, "absurd_value", None)]
        (folder / "5.json").write_text(company_cards(MIDNIGHT + 43_200, 145))
        landing.land(con, home, sources, DAY.date(), arrivals, lambda said: None)
        assert con.execute("select path, inserted, duplicate + superseded from source_files where state = 'landed' order by path").fetchall() == [
            ("gpu/cards/october/1.json", 8 * 12, 0),
            ("gpu/cards/october/2.json", 0, 8 * 7),
            ("gpu/cards/october/3.json", 1, 0),
            ("gpu/cards/october/5.json", 8 * 12, 0),
        ]


def test_an_answer_on_one_long_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(" " * (17 << 20) + answer(active([1] * 3)))
    assert inspect(path, "a.json", MAX_DOCUMENT).lines == 1
    with pytest.raises(Refused, match="a line longer than 16 MB"):
        inspect(path, "a.json")


# --- kube-state-metrics ------------------------------------------------------------------------------------------


def asks(n: Any, steps: int = 10, metric: str = "kube_pod_container_resource_requests", **labels: str) -> Found:
    values = n if isinstance(n, list) else [n] * steps
    return series(metric, values, **{"namespace": "x", "pod": "p", "container": "c", "node": "n1", "resource": "nvidia_com_gpu", **labels})


def node_has(n: int, metric: str = "kube_node_status_capacity", **labels: str) -> Found:
    return series(metric, [n] * 10, **{"node": "n1", "resource": "nvidia_com_gpu", **labels})


def test_pods_of_the_sample_company_are_read_back_from_their_requests(tmp_path: Path) -> None:
    cards = Counter((namespace, pod) for namespace, pod, _ in TRUTH.serving.pods)
    node = TRUTH.serving.node
    result = [
        series("kube_pod_container_resource_requests", [n] * 577, step=300, namespace=namespace, pod=pod, container="vllm", node=node, resource="nvidia_com_gpu")
        for (namespace, pod), n in cards.items()
    ]
    result.append(series("kube_node_status_capacity", [8] * 577, step=300, node=node, resource="nvidia_com_gpu"))
    rows = read("k8s_gpu_requests", tmp_path, answer(*result))
    found = gpu_seconds(rows)
    assert {key: value for key, value in found.items() if key[0]} == pod_days(2)
    assert {value for key, value in found.items() if not key[0]} == {2 * 86_400}
    assert {row["gpu_uuid"] for row in rows} == {None} and {row["node"] for row in rows} == {node}


def test_containers_add_up_and_init_containers_come_before_them(tmp_path: Path) -> None:
    two = (asks(1, container="a"), asks(1, container="b"))
    init = "kube_pod_init_container_resource_requests"
    for first, gpus in ((1, 2), (3, 3)):
        (row,) = read("k8s_gpu_requests", tmp_path, answer(*two, asks(first, metric=init, container="i"), asks(1, metric=init, container="j")))
        assert (row["gpus"], row["held_seconds"], row["holder_kind"], row["holder_id"], row["namespace"]) == (gpus, 600, "pod", "p", "x")


def test_what_nobody_asked_for_is_held_by_nobody(tmp_path: Path) -> None:
    rows = read("k8s_gpu_requests", tmp_path, answer(asks(3), node_has(4), node_has(3, "kube_node_status_allocatable"), node_has(8, node="n2")))
    assert [(row["node"], row["holder_kind"], row["gpus"]) for row in rows] == [("n1", "pod", 3), ("n1", "none", 1), ("n2", "none", 8)]
    (row,) = good(read("k8s_gpu_requests", tmp_path, answer(asks(5), node_has(4))))
    assert row["holder_kind"] == "pod"


def test_a_finished_pod_holds_nothing(tmp_path: Path) -> None:
    done = series("kube_pod_status_phase", [0] * 4 + [1] * 6, namespace="x", pod="p", phase="Succeeded")
    rows = read("k8s_gpu_requests", tmp_path, answer(asks(1), done, node_has(1)))
    assert [(row["holder_kind"], row["held_seconds"]) for row in rows] == [("pod", 240), ("none", 360)]


@pytest.mark.parametrize(
    ("resource", "replicas", "found"),
    [
        ("nvidia_com_gpu", {}, (1, 1)),
        ("nvidia_com_gpu", {"n*": 4}, (1, 4)),
        ("nvidia_com_gpu", {"m*": 4}, (1, 1)),
        ("nvidia_com_gpu_shared", {}, "unknown_replicas"),
        ("nvidia_com_gpu_shared", {"nvidia.com/gpu.shared": 10}, (1, 10)),
        ("nvidia_com_gpu_shared", {"n1": 2, "nvidia_com_gpu_shared": 10}, (1, 2)),
        ("nvidia_com_mig_3g_20gb", {}, (3, 7)),
        ("nvidia_com_mig_1g_10gb_me", {}, (1, 7)),
        ("nvidia_com_mig_2g_12gb", {}, (2, 4)),
        ("nvidia_com_mig_1g_5gb_shared", {"nvidia_com_mig_1g_5gb_shared": 2}, (1, 14)),
        ("nvidia_com_mig_8g_80gb", {}, "unknown_mig_profile"),
        ("k8s_amazonaws_com_vgpu", {}, "unknown_replicas"),
        ("k8s_amazonaws_com_vgpu", {"k8s_amazonaws_com_vgpu": 10}, (1, 10)),
        ("amd_com_gpu", {}, (1, 1)),
        ("aws_amazon_com_neuron", {}, (1, 1)),
        ("aws_amazon_com_neuroncore", {"aws_amazon_com_neuroncore": 2}, (1, 2)),
        ("cpu", {}, "other_resource"),
    ],
)
def test_shares_and_slices_by_resource(tmp_path: Path, resource: str, replicas: dict[str, int], found: Any) -> None:
    (row,) = read("k8s_gpu_requests", tmp_path, answer(asks(1, resource=resource)), replicas=replicas)
    assert ((row["slice_num"], row["slice_den"]) if row["reject"] is None else row["reject"]) == found


def test_the_label_of_the_node_says_how_many_share_a_card(tmp_path: Path) -> None:
    node = series("kube_node_labels", [1] * 10, node="n1", label_nvidia_com_gpu_replicas="4", label_nvidia_com_gpu_product="NVIDIA-A30-SHARED")
    rows = read("k8s_gpu_requests", tmp_path, answer(asks(1), asks(1, pod="q", resource="nvidia_com_mig_1g_24gb"), node_has(8), node), replicas={"n1": 2})
    assert [(row["slice_num"], row["slice_den"], row["gpus"]) for row in rows] == [(1, 4, 1), (1, 4, 1), (1, 4, 7)]
    assert {row["gpu_model"] for row in rows} == {"NVIDIA-A30-SHARED"}


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (asks(1, node=""), "not_scheduled"),
        (asks(1, pod=""), "no_pod"),
        (asks("1.5"), "absurd_value"),
        (asks(-1), "absurd_value"),
        (asks("9" * 50), "absurd_value"),
        (asks("NaN"), "no_data"),
        (asks(1, metric="kube_pod_container_resource_limits"), "other_metric"),
    ],
)
def test_a_request_that_is_none_is_rejected(tmp_path: Path, item: Found, reason: str) -> None:
    rows = read("k8s_gpu_requests", tmp_path, answer(asks(1, pod="q"), item))
    assert rejects(rows) == {reason: 1} and len(good(rows)) == 1


def test_published_kube_state_metrics(tmp_path: Path) -> None:
    path = SAMPLES / "k8s" / "ksm_pod_gpu_excerpt.prom"
    if not path.exists():
        pytest.skip("no kube-state-metrics sample beside the checkout")
    lines = re.findall(r"^(\w+)\{(.*)\} (\S+)$", path.read_text(), re.M)
    result = [series(name, [value] * 3, **dict(re.findall(r'(\w+)="([^"]*)"', labels))) for name, labels, value in lines]
    rows = read("k8s_gpu_requests", tmp_path, answer(*result))
    assert [(row["holder_kind"], row["gpus"], row["node"]) for row in good(rows)] == [("none", 4, "127.0.0.1")]
    assert rejects(rows)["not_scheduled"] == 2


# --- OpenCost ----------------------------------------------------------------------------------------------------


def allocation(**changes: Any) -> Found:
    hour = {"start": "2026-10-01T13:00:00Z", "end": "2026-10-01T14:00:00Z"}
    properties = {"cluster": "elsewhere", "node": "n1", "namespace": "x", "pod": "p", "container": "c", **changes.pop("properties", {})}
    return {"name": "n", "properties": properties, "window": hour, **hour, "gpuCount": 1.0, "gpuHours": 1.0, "gpuCost": 1e300, **changes}


def allocations(*windows: Any) -> str:
    return json.dumps({"code": 200, "data": list(windows)})


def job_days() -> dict[tuple[Any, ...], int]:
    wanted: Counter[tuple[Any, ...]] = Counter()
    for job in TRUTH.jobs:
        start = job.start
        while start < job.end:
            stop = min(job.end, datetime.combine(start.date() + timedelta(days=1), datetime.min.time()))
            wanted[job.job_id, start.date()] += int((stop - start).total_seconds()) * job.gpus
            start = stop
    return dict(wanted)


def test_jobs_of_the_sample_company_are_read_back_from_opencost(tmp_path: Path) -> None:
    windows: dict[date, Found] = defaultdict(dict)
    for job in TRUTH.jobs:
        start = job.start
        while start < job.end:
            stop = min(job.end, datetime.combine(start.date() + timedelta(days=1), datetime.min.time()))
            windows[start.date()][job.job_id] = allocation(
                start=f"{start:%Y-%m-%dT%H:%M:%SZ}", end=f"{stop:%Y-%m-%dT%H:%M:%SZ}", window={"start": f"{start:%Y-%m-%dT00:00:00Z}"},
                gpuCount=float(job.gpus), gpuHours=(stop - start).total_seconds() * job.gpus / 3600, properties={"pod": job.job_id},
            )  # fmt: skip
            start = stop
    rows = read("opencost", tmp_path, allocations(*windows.values(), None))
    assert gpu_seconds(rows) == job_days() and not rejects(rows)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gpuCount": 4.0, "gpuHours": 4.0}, {"gpus": 4, "held_seconds": 3600, "gpu_uuid": None}),
        ({"gpuCount": 0.25, "gpuHours": 0.25}, {"gpus": 1, "held_seconds": 900}),
        ({"gpuCount": 0.0, "gpuHours": 3.7333333333333334, "properties": {"pod": ""}, "name": "__idle__"},
         {"gpus": 4, "held_seconds": 3360, "holder_kind": "none", "holder_id": None}),
        ({"properties": {"pod": None}, "name": "c/n1/__idle__"}, {"holder_kind": "none", "holder_id": None}),
        ({"properties": {"pod": None}, "name": "__unallocated__"}, {"holder_kind": "pod", "holder_id": None, "reject": None}),
        ({"properties": {"pod": None}, "name": "team-a"}, {"holder_id": "team-a"}),
        ({"gpuHours": 0}, {"reject": "no_gpu"}),
        ({"gpuHours": -1}, {"reject": "negative_gpu_hours"}),
        ({"gpuHours": None}, {"reject": "bad_gpu_hours"}),
        ({"gpuHours": "NaN"}, {"reject": "bad_gpu_hours"}),
        ({"gpuHours": 1e300}, {"reject": "bad_gpu_hours"}),
        ({"gpuHours": 1e15}, {"reject": "absurd_gpu_hours"}),
        ({"end": "2026-10-01T13:00:00Z"}, {"reject": "bad_time"}),
        ({"end": "2026-10-01T12:00:00Z"}, {"reject": "bad_time"}),
        ({"start": "today"}, {"reject": "bad_time"}),
        ({"start": "1026-10-01T13:00:00Z"}, {"reject": "bad_time"}),
        ({"properties": {"pod": "\ud800"}}, {"reject": "bad_text"}),
        ({"name": None, "properties": {"pod": None}}, {"reject": "no_holder"}),
        ({"GPUAllocation": {"gpuModel": "T4", "gpuUUID": "GPU-7", "gpuUsageAverage": 0.11}},
         {"gpu_model": "T4", "gpu_uuid": "GPU-7", "active_seconds": 396}),
        ({"GPUAllocation": {"gpuUsageAverage": 11}}, {"active_seconds": None, "reject": None}),
        ({"GPUAllocation": None}, {"active_seconds": None, "reject": None}),
    ],
)  # fmt: skip
def test_allocations_of_opencost(tmp_path: Path, changes: Found, said: Found) -> None:
    rows = read("opencost", tmp_path, allocations({"before": allocation(properties={"pod": "q"}), "it": allocation(**changes), "no": "text"}))
    assert {name: rows[1][name] for name in said} == said
    assert rows[0]["reject"] is None and rows[2]["reject"] == "bad_text" and rows[0]["held_seconds"] == 3600


def test_a_window_that_went_on_replaces_itself(tmp_path: Path) -> None:
    (first,) = read("opencost", tmp_path, allocations({"a": allocation(end="2026-10-01T13:20:00Z", gpuHours=1 / 3)}))
    (second,) = read("opencost", tmp_path, allocations({"a": allocation()}))
    assert first["event_id"] == second["event_id"] and (first["held_seconds"], second["held_seconds"]) == (1200, 3600)


@pytest.mark.parametrize("data", ['{"code": 200, "data": [', '{"code": 500, "data": []}', '{"code": 200, "data": {}}', "[]", '{"code": 200, "data": [7]}'])
def test_what_is_no_allocation_answer_is_refused(tmp_path: Path, data: str) -> None:
    with pytest.raises(Refused, match=r"^gpu/cluster/a\.json"):
        read("opencost", tmp_path, data)


HEADER = "Date,Namespace,ControllerKind,ControllerName,Pod,Container,GPUs,GPUCost,Labels"


def test_the_export_knows_days_only(tmp_path: Path) -> None:
    lines = [HEADER, "2026-10-01,x,,,p,c,2.5,1,", "2026-10-01,x,,,q,c,0,1,", "yesterday,x,,,q,c,1,1,", "2026-10-01,x,,,q,c,NaN,1,", "2026-10-01,x,,,,,1,1,"]
    rows = read("opencost", tmp_path, "\n".join(lines), "export.csv")
    assert [row["reject"] for row in rows] == [None, "no_gpu", "bad_time", "bad_gpu_hours", None]
    assert (rows[0]["gpus"], rows[0]["held_seconds"], rows[0]["interval_end"]) == (3, 72_000, DAY + timedelta(days=1))
    assert (rows[4]["holder_kind"], rows[4]["holder_id"]) == ("pod", None)
    with pytest.raises(Refused, match="column GPUs is missing"):
        read("opencost", tmp_path, HEADER.replace("GPUs", "Cards") + "\n", "export.csv")


def test_published_opencost_samples(tmp_path: Path) -> None:
    path = SAMPLES / "opencost" / "allocation_example.json"
    if not path.exists():
        pytest.skip("no OpenCost sample beside the checkout")
    rows = read("opencost", tmp_path, path.read_bytes())
    assert [(row["holder_kind"], row["holder_id"], row["gpus"], row["held_seconds"]) for row in good(rows)] == [
        ("pod", "llama70b-0", 4, 3600), ("pod", "embedder-0", 1, 960), ("none", None, 4, 3360),
    ]  # fmt: skip
    assert rejects(rows) == {"no_gpu": 1}
    assert rejects(read("opencost", tmp_path, (SAMPLES / "opencost" / "export-sample.csv").read_bytes(), "e.csv")) == {"no_gpu": 2}


# --- vLLM --------------------------------------------------------------------------------------------------------


def counters(prompt: list[Any], output: list[Any], cached: list[Any] | None = None, **labels: str) -> list[Found]:
    labels = {"model_name": "m", "engine": "0", **labels}
    found = [series("vllm:prompt_tokens_total", prompt, **labels), series("vllm:generation_tokens_total", output, **labels)]
    return found + ([series("vllm:prompt_tokens_cached_total", cached, **labels)] if cached else [])


def server_tokens(rows: list[Found]) -> list[tuple[int, int, int]]:
    return [(row["input_tokens"], row["cache_read_tokens"], row["output_tokens"]) for row in good(rows)]


def test_tokens_of_the_sample_companys_servers_are_read_back(tmp_path: Path) -> None:
    """Two servers take turns; the second is restarted every morning at five."""
    events = [e for e in TRUTH.of("litellm-prod") if e.model == "llama-3.3-70b" and e.status == "success" and DAY <= e.at < DAY + timedelta(days=30)]
    wanted: dict[date, list[int]] = defaultdict(lambda: [0, 0, 0])
    steps = 30 * 24 * 4 + 1
    grown = [{"prompt": [0] * steps, "cached": [0] * steps, "output": [0] * steps} for _ in range(2)]
    for n, event in enumerate(events):
        at = int((event.at - DAY).total_seconds()) // 900 + 1
        for m, (key, tokens) in enumerate({"prompt": event.input_total, "cached": event.cache_read, "output": event.output_total}.items()):
            grown[n % 2][key][at] += tokens
            wanted[event.day][m] += tokens
    result = []
    for n, server in enumerate(grown):
        for name, key in (("prompt_tokens", "prompt"), ("prompt_tokens_cached", "cached"), ("generation_tokens", "output")):
            values, total = [], 10**6 * (1 - n)
            for step, tokens in enumerate(server[key]):
                total = tokens if n and step % 96 == 20 else total + tokens
                values.append(total)
            result.append(series(f"vllm:{name}_total", values, step=900, model_name="llama-3.3-70b", engine="0", pod=f"vllm-{n}"))
    rows = read("vllm", tmp_path, answer(*result))
    assert {row["interval_start"].date(): [row["input_tokens"], row["cache_read_tokens"], row["output_tokens"]] for row in rows if row["input_tokens"]} == wanted
    assert {(row["holder_kind"], row["holder_id"], row["gpus"], row["held_seconds"]) for row in rows} == {("server", "llama-3.3-70b", 0, 86_400)}
    assert len(events) > 15 and not rejects(rows)


def test_a_restart_is_seen_per_series_before_series_are_added_up(tmp_path: Path) -> None:
    rows = read("vllm", tmp_path, answer(*counters([100, 150, 10], [1, 2, 3], [0, 5, 6], pod="a"), *counters([1000, 1000, 1100], [5, 5, 5], [1, 1, 1], pod="b")))
    assert server_tokens(rows) == [(50 + 10 + 100, 6, 2)]


def test_a_server_that_appears_began_at_zero_and_engines_stand_apart(tmp_path: Path) -> None:
    rows = read("vllm", tmp_path, answer(*counters([7, 7, 7], [0, 0, 0]), *counters([None, 40, 50], [None, 4, 5], engine="1")))
    assert server_tokens(rows) == [(0, 0, 0), (50, 0, 5)]
    assert [row["event_id"][-4:] for row in rows] == ["/m/0", "/m/1"]


def test_a_day_gets_its_part_of_an_increase_and_nothing_is_lost(tmp_path: Path) -> None:
    result = [{**one, "values": [[MIDNIGHT - 1000, "0"], [MIDNIGHT + 2000, "1001"]]} for one in counters([0, 0], [0, 0])]
    assert server_tokens(read("vllm", tmp_path, answer(*result, series("up", [1] * 3, step=3000, first=MIDNIGHT)))) == [(333, 0, 333), (668, 0, 668)]


def test_names_of_other_stacks_and_counters_by_source(tmp_path: Path) -> None:
    by_source = "kserve_vllm:prompt_tokens_by_source_total"
    labels = {"model_name": "m", "exported_namespace": "serving", "namespace": "monitoring"}
    rows = read("vllm", tmp_path, answer(
        series(by_source, [0, 70], source="local_cache_hit", **labels),
        series(by_source, [0, 30], source="local_compute", **labels),
        series("kserve_vllm:generation_tokens_total", [0, 9], **labels),
        series("kserve_vllm:prefix_cache_hits_total", [0, 99], **labels),
        series("kserve_vllm:request_success_total", [0, 1], **labels),
        series("kserve_vllm:num_requests_running", [0, 1], **labels),
    ))  # fmt: skip
    assert server_tokens(rows) == [(100, 70, 9)] and rejects(rows) == {"other_metric": 1}
    assert good(rows)[0]["namespace"] == "serving"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (counters([0, 10], [0, 1], [0, 11]), {"more_cached_than_input": 1}),
        (counters([0, 10], [0, 1])[:1], {"no_output_tokens": 1}),
        (counters([0, 10], [0, 1])[1:], {"no_input_tokens": 1}),
        (counters([0, -10], [0, 1]), {"absurd_value": 1, "no_input_tokens": 1}),
        (counters([0, "1e30"], [0, 1]), {"absurd_value": 1, "no_input_tokens": 1}),
        (counters([0, "NaN"], [0, 1]), {"one_sample": 1, "no_input_tokens": 1}),
        (counters([0, 10], [0, 1], model_name=""), {"no_model": 2}),
    ],
)
def test_counters_that_cannot_be_read(tmp_path: Path, found: list[Found], reason: dict[str, int]) -> None:
    rows = read("vllm", tmp_path, answer(*found))
    assert rejects(rows) == reason and not good(rows)


def scrape(at: str, tokens: int, **changes: Any) -> Found:
    counts = {'vllm:prompt_tokens_total{engine="0"}': tokens, 'vllm:generation_tokens_total{engine="0"}': tokens // 10}
    return {"scraped_at": at, "model_name": "m", **counts, "vllm:request_success_total": 5, "description": "secret", **changes}


def test_scrapes_as_json(tmp_path: Path) -> None:
    (row,) = read("vllm", tmp_path, json.dumps(scrape("2026-10-01T10:00:00Z", 100, uptime_s=7200.25)))
    assert (row["interval_start"], row["interval_end"]) == (DAY + timedelta(hours=8), DAY + timedelta(hours=10))
    (later,) = read("vllm", tmp_path, json.dumps(scrape("2026-10-01T13:00:00+02:00", 150, uptime_s=10_801)))
    assert later["event_id"] == row["event_id"] and server_tokens([row, later]) == [(100, 0, 10), (150, 0, 15)]
    many = [scrape(f"2026-10-01T{hour}:00:00", tokens) for hour, tokens in ((10, 100), (12, 130), (11, 120))]
    (row,) = read("vllm", tmp_path, json.dumps(many))
    assert (row["input_tokens"], row["held_seconds"]) == (30, 7200)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"vllm:prompt_tokens_total": 5}, "a scrape without its time"),
        ({"vllm:prompt_tokens_total": 5, "scraped_at": "noon"}, "a scrape without its time"),
        ({"vllm:prompt_tokens_total": 5, "scraped_at": "2026-10-01", "uptime_s": "1e300"}, "impossible time"),
        ({"vllm:prompt_tokens_total": 5, "scraped_at": "1026-10-01"}, "impossible time"),
        ({"prompt": "secret"}, "no counters"),
        ([], "no counters"),
        ("secret", "no counters"),
    ],
)
def test_a_scrape_that_is_none_is_refused(tmp_path: Path, data: Any, said: str) -> None:
    with pytest.raises(Refused, match=said) as refused:
        read("vllm", tmp_path, json.dumps(data))
    assert "secret" not in str(refused.value)


def test_published_vllm_scrape(tmp_path: Path) -> None:
    path = SAMPLES / "vllm" / "vllm_real_scrape_2026-09-03.json"
    if not path.exists():
        pytest.skip("no vLLM sample beside the checkout")
    (row,) = read("vllm", tmp_path, path.read_bytes(), path.name)
    assert (row["input_tokens"], row["cache_read_tokens"], row["output_tokens"]) == (71_071_168 + 15_376_417, 71_071_168, 2_014_153)
    assert row["holder_id"] == "Qwen3.8-27B-NVFP4" and row["interval_end"] == datetime(2026, 9, 4)


# --- field maps --------------------------------------------------------------------------------------------------

MAP = {"interval_start": "start", "interval_end": "end", "holder": "job", "team": "account", "gpus": "cards"}


@pytest.mark.parametrize("file", ["csv", "jsonl", "parquet"])
def test_jobs_of_the_sample_company_are_read_back_through_a_map(tmp_path: Path, file: str) -> None:
    records = [{"start": f"{j.start:%Y-%m-%d %H:%M:%S}", "end": f"{j.end:%Y-%m-%d %H:%M:%S}", "job": j.job_id, "account": j.account, "cards": j.gpus} for j in TRUTH.jobs]
    if file == "parquet":
        with duckdb.connect() as con:
            con.execute("create table r(start timestamp, \"end\" timestamp, job varchar, account varchar, cards integer)")
            con.executemany("insert into r values ($start, $end, $job, $account, $cards)", records)
            con.execute("copy r to $path (format parquet)", {"path": str(tmp_path / "made.parquet")})
        data: bytes | str = (tmp_path / "made.parquet").read_bytes()
    elif file == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, records[0])
        writer.writeheader()
        writer.writerows(records)
        data = text.getvalue()
    else:
        data = "\n".join(json.dumps(record) for record in records)
    rows = read("mapped_gpu", tmp_path, data, f"a.{file}", file=file, fields=MAP)
    assert gpu_seconds(rows) == job_days() and not rejects(rows)
    assert Counter(row["account"] for row in rows) == Counter(job.account for job in TRUTH.jobs)


FULL = {
    "interval_start": "start", "interval_end": "end", "seconds": "held", "holder": "who", "holder_kind": {"column": "kind", "map": {"workload": "pod"}},
    "gpus": "cards", "slice_num": "num", "slice_den": "den", "active_seconds": "active", "capacity_type": "capacity", "input_tokens": "tokens",
    "queue_seconds": "waited",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, {"holder_kind": "pod", "holder_id": "w", "gpus": 2, "held_seconds": 60, "active_seconds": 30, "reject": None}),
        ({"cards": "0.5"}, {"gpus": 1, "slice_num": 1, "slice_den": 2}),
        ({"cards": "1.5"}, {"gpus": 1, "slice_num": 3, "slice_den": 2}),
        ({"cards": "1", "num": "2", "den": "7"}, {"slice_num": 2, "slice_den": 7, "reject": None}),
        ({"cards": "0.5", "num": "2", "den": "7"}, {"reject": "bad_gpus"}),
        ({"num": "8", "den": "7"}, {"reject": "bad_slice"}),
        ({"num": "1"}, {"reject": "bad_slice"}),
        ({"cards": "1e30"}, {"reject": "bad_gpus"}),
        ({"cards": "NaN"}, {"reject": "bad_gpus"}),
        ({"cards": "-1"}, {"reject": "bad_gpus"}),
        ({"cards": "0"}, {"reject": "no_gpu"}),
        ({"cards": ""}, {"reject": "bad_gpus"}),
        ({"held": "-1"}, {"reject": "negative_seconds"}),
        ({"held": "61"}, {"reject": "held_longer_than_interval"}),
        ({"held": "1e300"}, {"reject": "bad_seconds"}),
        ({"end": "2026-09-30T00:00:00Z"}, {"reject": "bad_time"}),
        ({"start": "soon"}, {"reject": "bad_time"}),
        ({"start": "0001-01-01T00:00:00Z"}, {"reject": "bad_time"}),
        ({"active": "61"}, {"reject": "bad_active_seconds"}),
        ({"active": ""}, {"active_seconds": None, "reject": None}),
        ({"waited": "90.5"}, {"queue_seconds": 90, "reject": None}),
        ({"waited": ""}, {"queue_seconds": None, "reject": None}),
        ({"waited": "-1"}, {"reject": "bad_queue_seconds"}),
        ({"waited": "long"}, {"reject": "bad_queue_seconds"}),
        ({"kind": "ghost"}, {"reject": "unknown_holder_kind"}),
        ({"who": ""}, {"reject": "no_holder"}),
        ({"who": "", "kind": "none"}, {"holder_kind": "none", "reject": None}),
        ({"capacity": "cheap"}, {"reject": "unknown_capacity_type"}),
        ({"tokens": "9" * 30}, {"reject": "bad_tokens"}),
        ({"kind": "server", "cards": "0", "tokens": "5"}, {"holder_kind": "server", "gpus": 0, "input_tokens": 5, "reject": None}),
        ({"who": "\u202e💣'; --"}, {"holder_id": "\u202e💣'; --", "reject": None}),
    ],
)
def test_rows_through_a_map(tmp_path: Path, changes: dict[str, str], said: Found) -> None:
    record = {"start": "2026-10-01T00:00:00Z", "end": "2026-10-01T00:01:00Z", "held": "60", "who": "w", "kind": "workload", "cards": "2", "num": "",
              "den": "", "active": "30", "capacity": "spot", "tokens": "", "waited": "", **changes}  # fmt: skip
    data = json.dumps(record) + "\n\nnot json\n"
    row, bad = read("mapped_gpu", tmp_path, data, "a.jsonl", file="jsonl", fields=FULL)
    assert {name: row[name] for name in said} == said and bad["reject"] == "bad_record"


def test_equal_rows_of_a_list_are_told_apart_and_come_back_the_same(tmp_path: Path) -> None:
    data = "start,run,job,account,cards\n" + "01.10.2026 02:00,60,,a,1\n" * 2 + "01.10.2026 02:00,60,b,a,1\n"
    fields = {"interval_start": "start", "seconds": "run", "holder": "job", "team": "account", "gpus": "cards"}
    entry = {"file": "csv", "fields": fields, "time_zone": "Europe/Dublin", "time_format": "%d.%m.%Y %H:%M"}
    rows = read("mapped_gpu", tmp_path, data, "a.csv", **entry)
    assert [row["event_id"] for row in rows] == [f"2026-10-01T01:00:00Z/a/{end}" for end in ("a", "a#2", "b")]
    assert [row["event_id"] for row in read("mapped_gpu", tmp_path, data, "a.csv", **entry)] == [row["event_id"] for row in rows]
    with pytest.raises(Refused, match="column run is missing"):
        read("mapped_gpu", tmp_path, data.replace("run", "ran"), "a.csv", **entry)


def test_a_map_says_what_it_must_and_nothing_else() -> None:
    assert list(map_problems(MAP)) == []
    assert [problem[:2] for problem in map_problems({**MAP, "prompt": "x"})] == [("prompt", "unknown field prompt")]
    assert [name for name, *_ in map_problems({"node": "n"})] == ["interval_start", "interval_end", "holder", "gpus"]
