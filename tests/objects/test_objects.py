"""Objects of a real S3 server: conditions that hold, addresses that expire, refusals that say what to do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import urllib3

from tests.s3_server import READER, S3Server
from yolofleet.errors import StoreError
from yolofleet.objects import Credential, Objects, credential_in


async def names(objects: Objects, prefix: str) -> list[tuple[str, int]]:
    return [(entry.name, entry.size_bytes) async for entry in objects.list(prefix)]


async def test_an_object_is_put_once_or_over_the_very_one_that_was_read(s3: S3Server) -> None:
    objects = s3.objects()
    assert await objects.put("once/a", b"one")
    assert not await objects.put("once/a", b"two")
    seen = await objects.get("once/a", limit=10)
    assert seen is not None
    assert seen.body == b"one"
    assert await objects.put("once/a", b"three", over=seen.etag)
    assert not await objects.put("once/a", b"four", over=seen.etag), "another one was faster"
    assert await objects.size("once/a") == 5


async def test_of_many_writers_at_once_one_wins(s3: S3Server) -> None:
    won = await asyncio.gather(*(s3.objects().put("race/a", bytes([n])) for n in range(12)))
    assert sum(won) == 1
    seen = await s3.objects().get("race/a", limit=10)
    assert seen is not None
    assert seen.body == bytes([won.index(True)])


async def test_absent_is_not_an_error_and_too_large_is(s3: S3Server) -> None:
    objects = s3.objects()
    assert await objects.get("none/a", limit=10) is None
    assert await objects.size("none/a") is None
    with pytest.raises(FileNotFoundError):
        [chunk async for chunk in objects.read("none/a")]
    await objects.put("large/a", b"x" * 11)
    with pytest.raises(StoreError, match="11 bytes, more than 10"):
        await objects.get("large/a", limit=10)


async def test_a_listing_and_a_removal(s3: S3Server) -> None:
    objects = s3.objects()
    for name in ("list/b", "list/a", "listing/c"):
        await objects.put(name, b"abc")
    assert sorted(await names(objects, "list/")) == [("list/a", 3), ("list/b", 3)]
    await objects.remove(["list/a", "list/none"])
    assert await names(objects, "list/") == [("list/b", 3)]


async def test_a_signed_address_takes_its_object_and_no_other_until_it_expires(s3: S3Server) -> None:
    objects, pool = s3.objects(), urllib3.PoolManager(retries=False)
    url = await objects.signed("PUT", "signed/a", seconds=60)
    assert pool.request("PUT", url, body=b"abc").status == 200
    assert pool.request("PUT", url.replace("signed/a", "signed/b"), body=b"abc").status == 403
    assert pool.request("GET", url).status == 403
    assert pool.request("DELETE", url).status == 403
    assert pool.request("GET", await objects.signed("GET", "signed/a", seconds=60)).data == b"abc"
    short = await objects.signed("GET", "signed/a", seconds=1)
    await asyncio.sleep(2)
    assert pool.request("GET", short).status == 403
    assert "writer-secret" not in url


async def test_who_may_read_may_do_no_more(s3: S3Server) -> None:
    await s3.objects().put("door/a", b"abc")
    reader = Objects(s3.bucket(read_only=True), READER)
    assert (await reader.get("door/a", limit=10)) is not None
    for act in (reader.put("door/b", b"abc"), reader.remove(["door/a"])):
        with pytest.raises(StoreError, match="AccessDenied"):
            await act
    with pytest.raises(StoreError, match="check the Secret"):
        await Objects(s3.bucket(), READER).get("door/a", limit=10)


@pytest.mark.parametrize(
    ("credential", "bucket", "told"),
    [
        (Credential("writer", "wrong"), "engines", "SignatureDoesNotMatch.*check the Secret"),
        (Credential("nobody", "wrong"), "engines", "check the Secret"),
        (Credential("writer", "writer-secret"), "none", "NoSuchBucket.*store.s3.bucket"),
    ],
)
async def test_a_refusal_says_what_to_do(s3: S3Server, credential: Credential, bucket: str, told: str) -> None:
    with pytest.raises(StoreError, match=told) as error:
        await Objects(s3.bucket(name=bucket), credential).get("a", limit=10)
    assert "wrong" not in str(error.value)


async def test_a_store_that_is_away_says_where_it_should_be(s3: S3Server) -> None:
    nowhere = s3.bucket().model_copy(update={"endpoint": "http://127.0.0.1:9"})
    told = set()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:9 .*events") as error:
            await Objects(nowhere, READER, timeout_s=1).get("a", limit=10)
        told.add(str(error.value))
    assert len(told) == 1, "the same at every turn, or a condition would be written at every turn"


def test_a_secret_without_its_keys_is_told(tmp_path: Path) -> None:
    (tmp_path / "accessKey").write_text("a\n")
    with pytest.raises(StoreError, match="needs the keys accessKey and secretKey"):
        credential_in(tmp_path)
    (tmp_path / "secretKey").write_text("b\n")
    assert credential_in(tmp_path) == Credential("a", "b")
