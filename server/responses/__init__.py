"""POST /v1/responses: the OpenAI Responses API."""
