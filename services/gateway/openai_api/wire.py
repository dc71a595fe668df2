"""The bodies of the OpenAI-compatible API, as far as they mean something here; what else a client sends is not read."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from core.schemas import Citation, RetrievalOptions

MODEL: Final = "ekiben"
MAX_INPUTS: Final = 2_048


class _Asked(BaseModel):
    """What a client sends: OpenAI's parameters are many, and new ones come."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ContentPart(_Asked):
    """A part of a message; only those of type `text` can be read."""

    type: StrictStr
    text: StrictStr | None = None


class ChatMessage(_Asked):
    """A message of the conversation."""

    role: StrictStr
    content: StrictStr | list[ContentPart] | None = None


class StreamOptions(_Asked):
    """How a stream ends."""

    include_usage: StrictBool | None = None


class ChatRequest(_Asked):
    """Body of `POST /v1/chat/completions`. The last message of the role `user` is the question; the others are not read.

    `ekiben` says where and how to look, as in `POST /v1/answer`. A parameter that can't be done and would change what the answer means is refused
    (`tools`, `n` above 1, `logprobs`, a `response_format` that is not text ...). `temperature`, `top_p`, `max_tokens`, `stop`, `seed`, `user` and all
    others are accepted and ignored.
    """

    model: StrictStr
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: StrictInt | None = None
    logprobs: StrictBool | None = None
    top_logprobs: StrictInt | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    ekiben: RetrievalOptions = RetrievalOptions()


class EmbeddingRequest(_Asked):
    """Body of `POST /v1/embeddings`. `kind` chooses the prompt of encoders that tell questions from documents."""

    model: StrictStr
    input: StrictStr | Annotated[list[StrictStr], Field(min_length=1, max_length=MAX_INPUTS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: StrictInt | None = None
    kind: Literal["query", "document"] = "document"


class _Given(BaseModel):
    """What is answered."""

    model_config = ConfigDict(frozen=True)


class Usage(_Given):
    """Tokens that a language model read and wrote, those of summaries included, as it counted them. Without one the encoder's tokenizer counts:
    `prompt_tokens` are those of the question and of the passages read for it, `completion_tokens` those of the answer.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(_Given):
    """The answer. `citations` are those of `POST /v1/answer`."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None
    citations: tuple[Citation, ...]


class ChatChoice(_Given):
    """The one answer."""

    index: int = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: Literal["stop"] = "stop"


class ChatCompletion(_Given):
    """An answer. `id` is that of its record; `usage` None where nothing could count it."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str = MODEL
    choices: tuple[ChatChoice, ...]
    usage: Usage | None


class ChatDelta(_Given):
    """What a chunk adds to the message; a field that is not there adds nothing."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    citations: tuple[Citation, ...] | None = None


class ChunkChoice(_Given):
    """The one answer, further on."""

    index: int = 0
    delta: ChatDelta
    logprobs: None = None
    finish_reason: Literal["stop"] | None = None


class ChatChunk(_Given):
    """A piece of a streamed answer. The last one with a choice holds the citations; usage, where it was asked for, comes in one without a choice."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str = MODEL
    choices: tuple[ChunkChoice, ...]
    usage: Usage | None = None


class EmbeddingUsage(_Given):
    """Tokens of the texts."""

    prompt_tokens: int
    total_tokens: int


class Embedding(_Given):
    """The unit vector of the text at place `index`: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingList(_Given):
    """Vectors in the order of the texts. `encoder` is the fingerprint of what made them: vectors of two encoders can't be compared."""

    object: Literal["list"] = "list"
    data: tuple[Embedding, ...]
    model: str = MODEL
    usage: EmbeddingUsage
    encoder: str


class Model(_Given):
    """What can be asked."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "ekiben"


class ModelList(_Given):
    """All models: the one."""

    object: Literal["list"] = "list"
    data: tuple[Model, ...]


class OpenAIError(_Given):
    """An error in OpenAI's words. `code` is that of our tree of errors."""

    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None
    code: str


class OpenAIErrorBody(_Given):
    """Body of every answer of these routes with a status of 400 or above."""

    error: OpenAIError
