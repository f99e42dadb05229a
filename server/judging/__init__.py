"""POST /v1/score and /v1/rerank: the verifiers on their own."""
