"""Every input that can't work is refused with the user's field, the value, and a remedy; nothing is left behind."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import onnx
import pytest
from onnx import TensorProto, helper

from model_repo_builder.addresses import AddressRules
from model_repo_builder.errors import Refused
from model_repo_builder.fetch import Fetch
from model_repo_builder.request import read
from tests.model_repo_builder.making import Bench, TinyYolo, checkpoint, names, pickled, pvc, request, server
from yolofleet.api.build import BUILD_ENV, BuildRequest, BuildResult
from yolofleet.api.sources import HttpSource, PvcSource, Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ZEROS = "0" * 64


def refused(result: BuildResult, *, field: str, value: str, message: str, remedy: str) -> None:
    assert result.outcome == "Refused"
    assert result.artifact is None
    failure = result.failure
    assert failure is not None
    assert failure.field == field
    assert failure.value == value
    assert message in failure.message
    assert remedy in failure.remedy


FILES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "empty file": (lambda path: path.write_bytes(b""), "an empty file", "give the .pt"),
    "a web page": (lambda path: path.write_bytes(b"\n<!DOCTYPE html><html>"), "a web page", "not the page"),
    "a git lfs pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "LFS",
        "lfs pull",
    ),
    "json": (lambda path: path.write_text('{"message": "not found"}'), "a JSON text", ".pt"),
    "gzip": (lambda path: path.write_bytes(b"\x1f\x8b\x08rest"), "a gzip archive", "in it"),
    "an engine": (lambda path: path.write_bytes(b"ftrt" + b"\0" * 99), "a TensorRT engine", "made from"),
    "ultralytics' engine": (
        lambda path: path.write_bytes(b"\x40\0\0\0" + b'{"names": 1}' * 9),
        "TensorRT",
        "made from",
    ),
    "an old pickle": (lambda path: path.write_bytes(b"\x80\x02]."), "torch < 1.6", "newer torch"),
    "noise": (lambda path: path.write_bytes(bytes(range(200, 256)) * 9), "neither", ".pt"),
    "a zip": (lambda path: checkpoint(path, b"].", extra=["best/constants.pkl"]), "TorchScript", ".pt"),
    "a foreign global": (lambda path: checkpoint(path, pickled("os.system")), "os.system", "to ONNX"),
    "a nested way out": (lambda path: checkpoint(path, pickled("torch.hub.load")), "torch.hub.load", "to ONNX"),
    "two pickles": (
        lambda path: checkpoint(path, pickled(), extra=["best/other.pkl"]),
        "exactly one pickle",
        "torch.save",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_model_is_told_by_its_content(name: str, bench: Bench) -> None:
    make, message, remedy = FILES[name]
    make(bench.source / "best.pt")
    result = bench.build(request(pvc("best.pt")))
    refused(result, field="spec.model.pvc.path", value="best.pt", message=message, remedy=remedy)
    assert bench.leftovers() == []


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_truncated_checkpoint_is_told(keep: float, bench: Bench) -> None:
    whole = checkpoint(bench.source / "best.pt", pickled()).read_bytes()
    (bench.source / "best.pt").write_bytes(whole[: int(len(whole) * keep)])
    result = bench.build(request(pvc("best.pt")))
    refused(
        result, field="spec.model.pvc.path", value="best.pt", message="truncated or damaged", remedy="fetch it again"
    )


def test_a_flipped_bit_in_a_checkpoint_is_told(bench: Bench) -> None:
    path = checkpoint(bench.source / "best.pt", pickled())
    content = bytearray(path.read_bytes())
    content[content.index(b"\0" * 4096) + 9] ^= 1
    path.write_bytes(content)
    result = bench.build(request(pvc("best.pt")))
    refused(result, field="spec.model.pvc.path", value="best.pt", message="best/data/0", remedy="digest")


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.99])
def test_a_truncated_onnx_is_told(keep: float, bench: Bench) -> None:
    whole = TinyYolo().save(bench.source / "m.onnx").read_bytes()
    (bench.source / "m.onnx").write_bytes(whole[: int(len(whole) * keep)])
    result = bench.build(request(pvc("m.onnx")))
    refused(result, field="spec.model.pvc.path", value="m.onnx", message="truncated ONNX", remedy="fetch it again")


def _two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def _external(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def _cut(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "nothing"


def _metadata(key: str, value: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        next(prop for prop in model.metadata_props if prop.key == key).value = value

    return change


GRAPHS: dict[str, tuple[TinyYolo, Callable[[onnx.ModelProto], object], str, str]] = {
    "two inputs": (TinyYolo(), _two_inputs, "2 inputs (images, more)", "export it again"),
    "weights elsewhere": (TinyYolo(), _external, "another file", "one .onnx file"),
    "a dangling edge": (TinyYolo(), _cut, "not valid", "export it again"),
    "a fixed batch of 4": (TinyYolo(batch=4), lambda model: model, "fixed at 4", "batch=1"),
    "no literal": (TinyYolo(), _metadata("names", "__import__('os')"), "no Python literal", "export it again"),
    "a gap in the names": (TinyYolo(), _metadata("names", "{0: 'a', 2: 'b'}"), "without a gap", "export it again"),
    "an unserved task": (TinyYolo(), _metadata("task", "depth"), "'depth' is not served", "export it again"),
    "other classes": (TinyYolo(), _metadata("names", "{0: 'a'}"), "5 channels", "export it again"),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_an_onnx_file_that_cant_be_served_says_why(name: str, bench: Bench) -> None:
    tiny, change, message, remedy = GRAPHS[name]
    model = tiny.model()
    change(model)
    (bench.source / "m.onnx").write_bytes(model.SerializeToString())
    result = bench.build(request(pvc("m.onnx")))
    refused(result, field="spec.model.pvc.path", value="m.onnx", message=message, remedy=remedy)
    assert bench.leftovers() == []


def test_pixels_that_the_client_would_turn_into_zeros_are_refused(bench: Bench) -> None:
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 3, 64, 64])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, None)
    cast = helper.make_node("Cast", ["images"], ["output0"], to=TensorProto.FLOAT)
    graph = helper.make_graph([cast], "bytes", [images], [output])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        str(bench.source / "m.onnx"),
    )
    result = bench.build(request(pvc("m.onnx")))
    refused(result, field="spec.model.pvc.path", value="m.onnx", message="is UINT8", remedy="float input")


def test_another_size_names_both_sizes(bench: Bench) -> None:
    TinyYolo(size=(96, 64)).save(bench.source / "m.onnx")
    result = bench.build(request(pvc("m.onnx")))
    refused(
        result,
        field="spec.engine.imageSize",
        value="64x64",
        message="fixed to 96x64 (height x width)",
        remedy="set imageSize to 96x64",
    )


def test_another_task_names_both_tasks(bench: Bench) -> None:
    TinyYolo().save(bench.source / "m.onnx")
    result = bench.build(request(pvc("m.onnx"), task="Segment"))
    refused(
        result, field="spec.model.task", value="Segment", message="does Detect", remedy="set spec.model.task: Detect"
    )


def test_outputs_of_another_task_are_told_without_metadata(bench: Bench) -> None:
    TinyYolo(metadata=None).save(bench.source / "m.onnx")
    result = bench.build(request(pvc("m.onnx"), task="Classify"))
    refused(result, field="spec.model.task", value="Classify", message="not those of Classify", remedy="set the task")


def fetch_unchecked(bench: Bench, source: Source) -> Refused:
    """Fetch what the API would not have let through: the builder looks for itself all the same."""
    fetch = Fetch(settings=bench.settings(rules=AddressRules()), folder=bench.root, report=lambda *_: None)
    with pytest.raises(Refused) as caught:
        fetch.run(source, "Detect")
    return caught.value


PATHS: dict[str, tuple[str, str, str]] = {
    "up": ("../etc/passwd", "stay inside the volume", "without `..`"),
    "up in the middle": ("a/../../x.pt", "stay inside the volume", "without `..`"),
    "missing": ("bets.pt", "no such file", "there is best.pt"),
    "a folder that is a file": ("best.pt/x.pt", "no such file", "check claimName"),
    "a folder": ("folder", "not a regular file", "name the .pt"),
    "a link out": ("link.pt", "leads out of the volume", "put the file itself"),
    "a link through a folder": ("outside/secret.pt", "leads out of the volume", "put the file itself"),
    "a loop": ("loop.pt", "can't be read", "uid 1000"),
}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_leaves_the_volume_or_leads_nowhere_is_refused(name: str, bench: Bench) -> None:
    path, message, remedy = PATHS[name]
    (bench.source / "best.pt").write_bytes(b"x")
    (bench.source / "folder").mkdir()
    (bench.root / "secret.pt").write_bytes(b"x")
    (bench.source / "link.pt").symlink_to(bench.root / "secret.pt")
    (bench.source / "outside").symlink_to(bench.root)
    (bench.source / "loop.pt").symlink_to("loop.pt")
    refusal = fetch_unchecked(bench, Source.model_construct(pvc=PvcSource.model_construct(claim_name="c", path=path)))
    assert (refusal.field, refusal.value) == ("spec.model.pvc.path", path)
    assert message in refusal.message
    assert remedy in refusal.remedy


def test_a_link_that_stays_inside_is_followed(bench: Bench) -> None:
    TinyYolo().save(bench.source / "v2.onnx")
    (bench.source / "current.onnx").symlink_to("v2.onnx")
    assert bench.build(request(pvc("current.onnx"))).outcome == "Published"


def test_a_wrong_digest_on_a_volume_shows_both(bench: Bench) -> None:
    found = hashlib.sha256(TinyYolo().save(bench.source / "m.onnx").read_bytes()).hexdigest()
    result = bench.build(request(pvc("m.onnx", sha256=ZEROS)))
    refused(result, field="spec.model.pvc.sha256", value=ZEROS, message=found, remedy="write that digest")


def test_a_file_over_the_limit_is_refused_unread(bench: Bench) -> None:
    with (bench.source / "big.pt").open("wb") as file:
        file.truncate(5 * 1024**2)
    refused(
        bench.build(request(pvc("big.pt"))),
        field="spec.model.pvc.path",
        value="big.pt",
        message="5242880 bytes, and 4194304 are allowed",
        remedy="YOLOFLEET_MAX_MODEL_MIB",
    )


@pytest.mark.parametrize(
    ("name", "close"),
    [("yolo26nn", "yolo26n"), ("yolov11n", "yolo11n"), ("yolo26-shapes", "yolo26n-shapes"), ("resnet", "yolo26n")],
)
def test_an_unknown_name_is_refused_with_close_ones(name: str, close: str, bench: Bench) -> None:
    result = bench.build(request({"builtin": name}))
    refused(result, field="spec.model.builtin", value=name, message="no built-in model", remedy=close)


def test_a_builtin_of_another_task_is_refused_before_the_download(bench: Bench) -> None:
    result = bench.build(request({"builtin": "yolo26n-seg"}))
    refused(result, field="spec.model.task", value="Detect", message="yolo26n-seg does Segment", remedy="Segment")


def http(url: str, content: bytes = b"") -> dict[str, Any]:
    return {"http": {"url": url, "sha256": hashlib.sha256(content).hexdigest()}}


URLS: dict[str, tuple[str, str, str]] = {
    "aws, gcp, azure": ("http://169.254.169.254/latest/meta-data/", "link-local", "name a server"),
    "in disguise": ("http://2852039166/latest/", "link-local", "name a server"),
    "alibaba": ("http://100.100.100.200/", "metadata", "name a server"),
    "aws over ipv6": ("http://[fd00:ec2::254]/", "metadata", "name a server"),
    "mapped": ("http://[::ffff:169.254.169.254]/", "link-local", "name a server"),
    "this pod": ("http://127.0.0.1:8080/progress", "loopback", "name a server"),
    "this pod by name": ("http://localhost:8080/", "loopback", "name a server"),
    "nobody": ("http://0.0.0.0/", "unspecified", "name a server"),
}


@pytest.mark.parametrize("name", URLS)
def test_addresses_that_a_fetch_has_no_business_with_are_refused(name: str, bench: Bench) -> None:
    url, message, remedy = URLS[name]
    result = bench.build(request(http(url)), settings=bench.settings(rules=AddressRules()))
    refused(result, field="spec.model.http.url", value=url, message=message, remedy=remedy)


def test_a_url_with_a_password_is_refused_and_not_repeated(bench: Bench) -> None:
    url = "https://me:secret@example.com/best.pt"
    refusal = fetch_unchecked(bench, Source.model_construct(http=HttpSource.model_construct(url=url, sha256=ZEROS)))
    assert refusal.field == "spec.model.http.url"
    assert "must not carry a password" in refusal.message
    assert "secret" not in str(refusal)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_an_answer_that_wont_change_is_refused_at_once(status: int, bench: Bench) -> None:
    with server({"/x.pt": (status, {}, b"no")}) as base:
        url = f"{base}/x.pt"
        refused(
            bench.build(request(http(url))),
            field="spec.model.http.url",
            value=url,
            message=f"HTTP {status}",
            remedy="check the address",
        )


def test_a_redirect_to_the_metadata_service_is_refused(bench: Bench) -> None:
    with server({"/x.pt": (302, {"Location": "http://169.254.169.254/latest"}, b"")}) as base:
        refused(
            bench.build(request(http(f"{base}/x.pt"))),
            field="spec.model.http.url",
            value=f"{base}/x.pt",
            message="link-local",
            remedy="name a server",
        )


def test_a_redirect_to_a_file_is_refused(bench: Bench) -> None:
    with server({"/x.pt": (302, {"Location": "file:///etc/passwd"}, b"")}) as base:
        result = bench.build(request(http(f"{base}/x.pt")))
    refused(result, field="spec.model.http.url", value=f"{base}/x.pt", message="only http", remedy="https://")


def test_redirects_are_bounded(bench: Bench) -> None:
    with server({"/x.pt": (302, {"Location": "/x.pt"}, b"")}) as base:
        result = bench.build(request(http(f"{base}/x.pt")))
    refused(result, field="spec.model.http.url", value=f"{base}/x.pt", message="3 redirects", remedy="lead to")


def test_a_wrong_digest_shows_both_and_what_came_instead(bench: Bench) -> None:
    page = b"<html>please log in</html>"
    with server({"/x.pt": (200, {}, page)}) as base:
        result = bench.build(request(http(f"{base}/x.pt", b"the model")))
    wanted = hashlib.sha256(b"the model").hexdigest()
    refused(
        result,
        field="spec.model.http.sha256",
        value=wanted,
        message=f"{hashlib.sha256(page).hexdigest()}; it is a web page",
        remedy="write that digest",
    )


def test_a_web_page_with_the_right_digest_is_refused_too(bench: Bench) -> None:
    page = b"<html>please log in</html>"
    with server({"/x.pt": (200, {}, page)}) as base:
        result = bench.build(request(http(f"{base}/x.pt", page)))
    refused(result, field="spec.model.http.url", value=f"{base}/x.pt", message="a web page", remedy="the file itself")


def test_a_download_over_the_limit_is_refused_by_its_header(bench: Bench) -> None:
    with server({"/x.pt": (200, {"Content-Length": "99999999"}, b"")}) as base:
        result = bench.build(request(http(f"{base}/x.pt")))
    refused(result, field="spec.model.http.url", value=f"{base}/x.pt", message="99999999 bytes", remedy="MAX_MODEL_MIB")


def test_a_download_without_a_length_is_cut_at_the_limit(bench: Bench) -> None:
    def endless(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            return

    with server({"/x.pt": endless}) as base:
        result = bench.build(request(http(f"{base}/x.pt")))
    refused(result, field="spec.model.http.url", value=f"{base}/x.pt", message="or more", remedy="MAX_MODEL_MIB")


CHANGES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "tensorrt": (
        {"backend": "TensorRT", "precision": "FP16"},
        "spec.engine.backend",
        "TensorRT",
        "backend: ONNXRuntime",
    ),
    "pictures for a classifier": (
        {"task": "Classify", "endpoints": ["Frames", "JPEG"]},
        "spec.endpoints",
        "Frames, JPEG",
        "leave JPEG out",
    ),
    "precision": ({"precision": "FP16"}, "spec.engine.precision", "FP16", "FP32"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_this_version_does_not_do_is_refused_at_the_door(name: str, bench: Bench) -> None:
    recipe, field, value, remedy = CHANGES[name]
    result = bench.build(request({"builtin": "yolo26n-shapes"}, **recipe))
    refused(result, field=field, value=value, message="", remedy=remedy)
    assert not (bench.root / "store" / ".staging").exists()


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ({"s3": {"bucket": "models", "key": "best.pt"}}, "s3:models - best.pt"),
        ({"oci": {"image": f"here/model@sha256:{ZEROS}"}}, f"oci:here/model@sha256:{ZEROS}"),
    ],
)
def test_sources_that_come_later_are_refused_by_name(source: dict[str, Any], value: str, bench: Bench) -> None:
    kind = next(iter(source))
    result = bench.build(request(source))
    refused(result, field=f"spec.model.{kind}", value=value, message="not fetch", remedy="use builtin, http or pvc")


def test_a_key_that_is_not_the_recipes_is_refused(bench: Bench) -> None:
    wrong = request({"builtin": "yolo26n-shapes"}).model_copy(update={"key": ZEROS})
    refused(bench.build(wrong), field="key", value=ZEROS, message="not that of this recipe", remedy="one version")


def test_a_recipe_for_other_weights_is_refused(bench: Bench) -> None:
    other = request({"builtin": "yolo26n-shapes"}).model_copy(update={"source": request({"builtin": "yolo26n"}).source})
    refused(bench.build(other), field="spec.model", value="builtin:yolo26n", message="yolo26n-shapes", remedy="version")


DOCUMENTS: dict[str, tuple[Callable[[dict[str, Any]], object], str, str]] = {
    "no multiple of 32": (
        lambda told: told["recipe"]["imageSize"].update(height=100),
        "spec.engine.imageSize.height",
        "100",
    ),
    "too large": (lambda told: told["recipe"]["imageSize"].update(width=8192), "spec.engine.imageSize.width", "8192"),
    "an unknown task": (lambda told: told["recipe"].update(task="Count"), "spec.model.task", "Count"),
    "an unknown backend": (lambda told: told["recipe"].update(backend="CoreML"), "spec.engine.backend", "CoreML"),
    "a batch of none": (lambda told: told["recipe"].update(maxBatchSize=0), "spec.engine.maxBatchSize", "0"),
    "a short digest": (
        lambda told: told["source"].update(builtin=None, http={"url": "https://x/y", "sha256": "abc"}),
        "spec.model.http.sha256",
        "abc",
    ),
    "another scheme": (
        lambda told: told["source"].update(builtin=None, http={"url": "ftp://x/y", "sha256": ZEROS}),
        "spec.model.http.url",
        "ftp://x/y",
    ),
    "a way out of the volume": (
        lambda told: told["source"].update(builtin=None, pvc={"claimName": "c", "path": "../x"}),
        "spec.model.pvc",
        '{"claimName": "c", "path": "../x"}',
    ),
    "an unknown endpoint": (lambda told: told["recipe"].update(endpoints=["Video"]), "spec.endpoints", "Video"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_request_that_the_schema_forbids_names_the_users_field(name: str) -> None:
    change, field, value = DOCUMENTS[name]
    told = request({"builtin": "yolo26n-shapes"}).wire()
    change(told)
    with pytest.raises(Refused) as caught:
        read(BuildRequest, json.dumps(told), variable=BUILD_ENV)
    assert (caught.value.field, caught.value.value) == (field, value)
    assert "kubectl explain" in caught.value.remedy


@pytest.mark.parametrize("text", [None, "", "{", "[]", "null"])
def test_a_request_that_is_no_json_object_names_the_variable(text: str | None) -> None:
    with pytest.raises(Refused) as caught:
        read(BuildRequest, text, variable=BUILD_ENV)
    assert caught.value.field == BUILD_ENV


def test_names_with_a_newline_stay_one_line_of_a_condition(bench: Bench) -> None:
    tiny = replace(TinyYolo(), metadata={"task": "detect\nReady: True", "names": names(2)})
    tiny.save(bench.source / "m.onnx")
    result = bench.build(request(pvc("m.onnx")))
    assert result.failure is not None
    assert "\n" not in result.failure.sentence()
