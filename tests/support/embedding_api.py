"""An endpoint of OpenAI's kind, over real HTTP, with a model of 16 dimensions."""

from __future__ import annotations

from tests.support.endpoint import Answer, Request
from tests.support.fakes import text_vector

LIMIT = 300
"""Characters that its model reads."""


def embeddings(request: Request) -> Answer:
    """As OpenAI answers, in any order, and not of unit length."""
    texts = request.body["input"]
    if any(len(text) > LIMIT for text in texts):
        return 400, {"error": {"message": "maximum context length exceeded", "type": "invalid_request_error"}}
    vectors = [[3 * float(x) for x in text_vector(text)] for text in texts]
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    tokens = sum(len(text.split()) for text in texts)
    return 200, {"object": "list", "data": data[::-1], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
