"""Files and batches, in OpenAI's shapes."""
