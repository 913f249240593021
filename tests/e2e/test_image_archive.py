import hashlib
import io
import json
import tarfile

import pytest

from e2e.images.oci import Image, Layer, write_archive


@pytest.fixture
def layers(tmp_path):
    made = []
    for name in ("base", "top"):
        archive = tmp_path / f"{name}.tar"
        archive.write_bytes(name.encode() * 100)
        digest = f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
        made.append(Layer(digest, archive.stat().st_size, archive, tmp_path))
    return tuple(made)


def read(images, **options):
    stream = io.BytesIO()
    write_archive(images, stream, **options)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive.getmembers()}


def test_every_blob_is_what_its_name_says(layers):
    files = read([Image("localhost/x:dev", layers, {"A": "b"})])
    blobs = {name: content for name, content in files.items() if name.startswith("blobs/")}
    assert len(blobs) == 4
    assert all(name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}" for name, content in blobs.items())


def test_the_index_leads_to_the_manifest_and_that_to_all_layers(layers):
    image = Image("localhost/x:dev", layers, {"A": "b"}, entrypoint=("/run",))
    files = read([image])
    entry = json.loads(files["index.json"])["manifests"][0]
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/x:dev"
    assert entry["digest"] == image.digest
    manifest = json.loads(files[f"blobs/{entry['digest'].replace(':', '/')}"])
    assert [layer["digest"] for layer in manifest["layers"]] == [layer.digest for layer in layers]
    config = json.loads(files[f"blobs/{manifest['config']['digest'].replace(':', '/')}"])
    assert config["config"] == {"User": "1000:1000", "Env": ["A=b"], "Entrypoint": ["/run"], "WorkingDir": "/tmp"}
    assert config["rootfs"]["diff_ids"] == [layer.digest for layer in layers]


def test_a_layer_that_two_images_share_is_written_once(layers):
    images = [Image("localhost/x:dev", layers, {}), Image("localhost/y:dev", layers[:1], {})]
    stream = io.BytesIO()
    write_archive(images, stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        names = archive.getnames()
    assert len(names) == len(set(names)) == 2 + 2 + 2 + 2


def test_what_the_store_has_is_left_out(layers):
    files = read([Image("localhost/x:dev", layers, {})], without={layers[0].digest})
    assert f"blobs/{layers[0].digest.replace(':', '/')}" not in files
    assert f"blobs/{layers[1].digest.replace(':', '/')}" in files
