"""What all models of the API share: frozen, camelCase, strict, and bounded field types.

On read, unknown fields are ignored, so that an older operator survives a newer object; the API server
refuses or prunes them at the door. Kubernetes knows no floats in APIs: fractions are decimal strings.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

T = TypeVar("T")


class ApiModel(BaseModel):
    """A frozen, strict value, camelCase on the wire; the docstrings of its fields go into crds/ and docs/api.md."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _as_the_api_server_reads(cls, given: Any) -> Any:
        return _normal(given)

    def wire(self) -> dict[str, Any]:
        """Return the JSON object as it travels: camelCase, absent fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _normal(given: Any) -> Any:
    """Take null for absent and 2.0 for 2, in maps too: so the API server does before it judges."""
    if isinstance(given, dict):
        return {key: _normal(value) for key, value in given.items() if value is not None}
    return int(given) if isinstance(given, float) and given.is_integer() else given


def cel(rule: str, message: str, *, field_path: str | None = None) -> JsonDict:
    """Describe one CEL rule of a schema; `message` is what the API server answers."""
    described: JsonDict = {"rule": rule, "message": message}
    return described | ({"fieldPath": field_path} if field_path else {})


def with_cel(*rules: JsonDict) -> ConfigDict:
    """Attach CEL rules to a model; the generator of crds/ copies them out."""
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": list(rules)})


def _unique(items: list[T]) -> list[T]:
    if len(set(map(str, items))) != len(items):
        raise ValueError("duplicate entries in a list of type set")
    return items


def unique_by(field: str) -> AfterValidator:
    """Refuse items of a list of type map that bear the same key."""

    def check(items: list[T]) -> list[T]:
        if len({getattr(item, field) for item in items}) != len(items):
            raise ValueError(f"duplicate {field} in a list of type map")
        return items

    return AfterValidator(check)


def as_set(*, max_items: int, min_items: int = 0) -> Any:
    """Mark a list as a bounded set: duplicates are refused by both sides."""
    extra: JsonDict = {"x-kubernetes-list-type": "set"}
    return Field(min_length=min_items, max_length=max_items, json_schema_extra=extra)


def as_map(key: str, *, max_items: int) -> Any:
    """Mark a list as a bounded map, keyed by the field `key` of its items."""
    extra: JsonDict = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    return Field(max_length=max_items, json_schema_extra=extra)


def as_atomic(*, max_items: int) -> Any:
    """Mark a list as bounded and replaced as a whole."""
    return Field(max_length=max_items, json_schema_extra={"x-kubernetes-list-type": "atomic"})


def _printable(words: str) -> str:
    return "".join(char if char.isprintable() else " " for char in words)


Unique = AfterValidator(_unique)
Printable = AfterValidator(_printable)
"""Words of somebody else, for a person's terminal: what would draw on it or break the line becomes a space."""


def text(max_length: int, pattern: str | None = None, *, min_length: int = 0) -> Any:
    """Bound a string; an unbounded one makes CEL's cost estimate refuse the whole CRD."""
    return StringConstraints(max_length=max_length, min_length=min_length, pattern=pattern)


Name = Annotated[str, text(63, r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""An RFC 1123 label."""
ObjectName = Annotated[str, text(253, r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")]
"""An RFC 1123 subdomain: the name of most Kubernetes objects."""
SHA256 = Annotated[str, text(64, r"^[a-f0-9]{64}$")]
Fraction = Annotated[str, text(8, r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$")]
"""A number from 0 to 1 as a decimal string."""
PositiveDecimal = Annotated[str, text(16, r"^([1-9][0-9]{0,8}(\.[0-9]{1,6})?|0\.[0-9]{0,5}[1-9])$")]
"""A number above 0 as a decimal string, without sign or exponent."""
Profile = Annotated[str, text(32, r"^(gpu|[1-9][0-9]?g\.[1-9][0-9]{0,3}gb([.+-][a-z]{2,4}(\.all)?)?)$")]
"""A MIG profile as its resource name has it (`1g.10gb`, `1g.10gb.me`), or `gpu`: a whole GPU."""
Product = Annotated[str, text(63, r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")]
"""A GPU product as node label `nvidia.com/gpu.product` has it, without the `-MIG-…` ending."""
LABEL_KEY_RULE = (
    "keys must be label keys: at most 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends, "
    "after an optional DNS name and '/'"
)
LabelKey = Annotated[
    str,
    text(
        317,
        r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$",
    ),
    Field(description=LABEL_KEY_RULE),
]
LabelValue = Annotated[str, text(63, r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]
TimeZone = Annotated[str, text(64, r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$")]
"""A name of the IANA time zone database."""
Cron = Annotated[str, text(64, r"^[0-9A-Za-z*/,-]+( [0-9A-Za-z*/,-]+){4}$")]
"""Five fields: minute, hour, day of month, month, day of week."""
Url = Annotated[str, text(2048, r"^https?://[A-Za-z0-9.:\[\]-]+(/[!-~]*)?$")]
"""http or https, a host, no user or password: an object's readers would see them."""
