"""Limits and field types that several wire types share."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, StringConstraints

MAX_QUESTION_CHARS = 4_000
MAX_TOP_K = 100
DEFAULT_TOP_K = 5
MAX_DOCUMENTS_PER_REQUEST = 256
MAX_PAGE_SIZE = 1_000
MAX_ID_CHARS = 512
MAX_TITLE_CHARS = 1_000
MAX_METADATA_KEYS = 64
DEFAULT_COLLECTION = "default"

Mode = Literal["dense", "lexical", "hybrid"]
Scalar = StrictBool | StrictInt | StrictFloat | Annotated[StrictStr, StringConstraints(max_length=4_000)]

Setting = bool | int | float | str | None

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_CHARS, pattern=r"^[^\x00-\x1f\x7f]+$")]
CollectionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
MetadataKey = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f\"]{1,128}$")]
Question = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUESTION_CHARS)]
TopK = Annotated[int, Field(strict=True, ge=1, le=MAX_TOP_K)]


class Frozen(BaseModel):
    """Base of every wire type: immutable, unknown fields refused, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
